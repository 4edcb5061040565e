package run

import (
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

// Detector is one of the ways to find lost events beside the runs, at a cost that does
// not depend on the size of the catalogue.
type Detector string

// The detectors.
const (
	Tap    Detector = "tap"    // looks at what the platform has announced
	Recent Detector = "recent" // looks at what was created lately
)

// Finding is a difference that a detector has seen.
type Finding struct {
	Key
	Title string
	// Due is when a run is to repair it: it may be on its way until then.
	Due time.Time
	// Announced tells that the product's own event was consumed, and made no row: nothing of
	// it is on its way.
	Announced bool
}

// DetectorState is how far a detector has come.
type DetectorState struct {
	Name  Detector `json:"name"`
	Owner string   `json:"owner,omitempty"` // who does its work, empty where all may
	// Mark is until when everything created has been compared, zero where the detector
	// keeps none. LookedAt is when it last looked, zero before it first did.
	Mark     time.Time `json:"comparedUntil,omitzero"`
	LookedAt time.Time `json:"lookedAt,omitzero"`
	Problem  string    `json:"problem,omitempty"` // why it does not work, empty where it does
	// Checked are the products that it has looked at since ever, Differing those of them
	// that were differences nobody knew of.
	Checked   int64 `json:"checked"`
	Differing int64 `json:"differing"`
}

// Detection is how far all detectors have come, and how many of the differences that they
// have found wait for a run to be asked for.
type Detection struct {
	Detectors []DetectorState `json:"detectors"`
	Pending   int64           `json:"pending"`
}

// Pending are differences that detectors have found, and for which no run was asked yet.
type Pending struct {
	IDs []product.ID // the longest due first
	// Asked is for how many of those that were found runs were asked within the last hour.
	Asked int
}
