package run

import (
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

// Drift is how far the stores differ as the ledger knows it at one moment: what is open.
type Drift map[product.Kind]map[State]int64

// Differing is how many products of a kind are known to differ; what may be on its way is not
// among them.
func (d Drift) Differing(kind product.Kind) (n int64) {
	for state, of := range d[kind] {
		if state != InFlight {
			n += of
		}
	}
	return n
}

// ByKind is the same of each kind.
func (d Drift) ByKind() map[product.Kind]int64 {
	all := make(map[product.Kind]int64)
	for _, kind := range product.Kinds() {
		all[kind] = d.Differing(kind)
	}
	return all
}

// In is how many differences of all kinds are in a state.
func (d Drift) In(state State) (n int64) {
	for _, states := range d {
		n += states[state]
	}
	return n
}

// SamplePeriod is the time that one sample speaks of.
const SamplePeriod = time.Hour

// Sample is how things stood in one period: of each number the largest that was seen, of the
// rest the worst.
type Sample struct {
	At        time.Time              `json:"at"` // its begin
	Differing map[product.Kind]int64 `json:"differing"`
	Blocked   int64                  `json:"blocked"`
	Delivery  DeliveryState          `json:"delivery"` // empty where it was not seen
	// Lag is since when no detector had looked, zero where none works.
	Lag time.Duration `json:"lag"`
}
