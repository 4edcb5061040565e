package reconcile_test

import (
	"hash/fnv"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// thief takes so many of a thousand events, as chance would have it.
func thief(ofThousand uint32) func(attempt int, id product.ID) fate {
	return func(attempt int, id product.ID) fate {
		h := fnv.New32a()
		_, _ = h.Write([]byte(strconv.Itoa(attempt) + " " + string(id)))
		if h.Sum32()%1000 < ofThousand {
			return vanishes
		}
		return arrives
	}
}

// Where another service takes two events of three, as the order service was seen to do,
// attempts go on until all have arrived, however late it is known of an event that it
// has not. Where hardly any arrives they end soon.
func TestAttemptsGoOnWhereEnoughArrive(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		taken    uint32
		verified bool
	}{{674, true}, {980, false}} {
		t.Run(strconv.Itoa(int(tt.taken)), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const missing = 400
				s := newShop(2000, first(missing))
				repairs := &repairer{shop: s, depth: 200, fate: thief(tt.taken)}
				set := s.replay()
				set.Replay, set.options.MaxRepairs = repairs, missing
				report, err := s.do(t.Context(), t, set)
				verified := report.Outcomes[run.Verified]
				if err != nil || (verified == missing) != tt.verified || verified+report.Outcomes[run.Lost] != missing {
					t.Errorf("%v by up to %d attempts, %v", report.Outcomes, report.Attempts, err)
				}
				if !tt.verified && report.Acted > 2*missing {
					t.Errorf("%d events were sent for %d products, and hardly any arrived", report.Acted, missing)
				}
			})
		})
	}
}

// Where a purged queue takes almost all that may be outstanding, the rest goes on at the
// old pace, although without the management API nothing is lost while others arrive.
func TestALossDoesNotTakeTheCreditForGood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const missing, depth = 1000, 20
		s := newShop(2000, first(missing))
		purged := 0
		repairs := &repairer{shop: s, depth: depth, fate: func(attempt int, _ product.ID) fate {
			if purged == depth-1 || attempt > 1 {
				return arrives
			}
			purged++
			return vanishes
		}}
		set := s.replay()
		set.Replay, set.options.MaxRepairs = repairs, missing
		begun := time.Now()
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Outcomes[run.Verified] != missing || report.Acted != missing+depth-1 {
			t.Errorf("%v by %d repairs, %v", report.Outcomes, report.Acted, err)
		}
		if took := time.Since(begun); took > time.Minute {
			t.Errorf("it took %s", took)
		}
	})
}
