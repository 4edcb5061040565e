package reconcile

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

// sight sees the repairs of one kind that were sent through the cart's queue arrive.
// Being seen is not yet a proof, but frees the credit that a repair takes.
type sight struct {
	r    *Run
	kind product.Kind

	mu      sync.Mutex
	out     map[product.ID]*item // sent, and not seen yet
	held    int                  // how many of these the queue has not got any more, and a consumer may
	looked  time.Time
	arrival time.Time // the last time that one was seen to have arrived
	dark    time.Time // up to here repairs are queued whose proof was given up
}

func newSight(r *Run, kind product.Kind) *sight {
	return &sight{r: r, kind: kind, out: make(map[product.ID]*item)}
}

// sent takes items over that are about to be sent.
func (s *sight) sent(items []*item, repairs []product.Repair) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, it := range items {
		it.wanted = repairs[i].Row.Short() // many may be under way
		s.out[it.ID] = it
	}
}

// drop forgets an item, with the lock held.
func (s *sight) drop(it *item) {
	if it.held && s.out[it.ID] == it {
		it.held = false
		s.held--
	}
	delete(s.out, it.ID)
	it.wanted = nil
}

// hold notes that the queue has not got an item any more, and that a consumer may.
func (s *sight) hold(it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out[it.ID] == it && !it.held {
		it.held = true
		s.held++
	}
}

// gone forgets an item: it is proved, or was not sent at all.
func (s *sight) gone(it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(it)
}

// lookInterval is how often the cart is looked at for what has arrived, at most.
const lookInterval = 100 * time.Millisecond

// unseen tells how many repairs were sent and have not been seen in the cart. One that may
// be lost as well counts twice: where such ones take half of the credit nothing more is
// sent, so that nothing more arrives, and then it is known of them. They would keep the
// most of it for good otherwise, while a few others at a time go past them.
func (s *sight) unseen(ctx context.Context) (int, error) {
	if err := wait(ctx, nil, s.soon()); err != nil {
		return 0, err
	}
	wanted, n := s.due()
	if len(wanted) == 0 {
		return n, nil
	}
	ids := slices.Collect(maps.Keys(wanted))
	if rule := s.kind.Rule(); !rule.InCart || !rule.InSource { // it is there, or it is not
		present, err := s.r.Target.Present(ctx, ids)
		if err != nil {
			return 0, err
		}
		return s.saw(wanted, ids, func(id product.ID) bool { return present[id] == rule.InSource }), nil
	}
	for len(ids) > 0 {
		rows, looked, err := s.r.finder.Rows(ctx, ids)
		if err != nil {
			return 0, err
		}
		n = s.saw(wanted, ids[:looked], func(id product.ID) bool {
			row, there := rows[id]
			return there && s.changed(wanted[id], &row)
		})
		ids = ids[looked:]
	}
	return n, nil
}

// soon is how long it takes until the cart may be looked at again, 0 where that is not worth
// a wait: whoever asks comes again in so many milliseconds, and a consumer that is quick would
// have nothing to do until then.
func (s *sight) soon() time.Duration {
	const again = 20 * time.Millisecond
	s.mu.Lock()
	defer s.mu.Unlock()
	if left := time.Until(s.looked.Add(lookInterval)); left <= again {
		return max(left, 0)
	}
	return 0
}

// due is what is to be looked at now, nothing where that was done just now, and what
// unseen tells.
func (s *sight) due() (wanted map[product.ID]*product.Row, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.looked) < lookInterval {
		return nil, len(s.out) + s.held
	}
	s.looked = time.Now()
	wanted = make(map[product.ID]*product.Row, len(s.out))
	for id, it := range s.out {
		wanted[id] = it.wanted
	}
	return wanted, len(s.out) + s.held
}

// saw forgets those of the products looked at that have arrived, and returns what unseen
// tells.
func (s *sight) saw(wanted map[product.ID]*product.Row, ids []product.ID, arrived func(product.ID) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, id := range ids {
		it := s.out[id]
		if it == nil || it.wanted != wanted[id] { // it was proved meanwhile
			continue
		}
		if arrived(id) {
			s.drop(it)
			s.arrival = now
		}
	}
	return len(s.out) + s.held
}

// changed tells whether a row is what the repair of a product in both stores makes of it.
func (s *sight) changed(wanted, row *product.Row) bool {
	for _, f := range s.kind.Rule().Proof {
		if f != product.SellerID && wanted.Values[f] != row.Values[f].Short() {
			return false
		}
	}
	return true
}

// arrived notes that a proof has found a repair of ours in the cart.
func (s *sight) arrived(it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, unseen := s.out[it.ID]; unseen {
		s.arrival = time.Now()
		s.drop(it)
	}
}

// lastArrival is when a repair of ours was last seen to have arrived.
func (s *sight) lastArrival() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.arrival
}

// darken notes that the proof of a repair was given up.
func (s *sight) darken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dark = time.Now()
}

// floor is the moment that the watermark must have passed before anything of this kind
// is judged.
func (s *sight) floor() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dark
}
