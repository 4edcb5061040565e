package producer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestReserveSpendsWhatTheQueueLeaves(t *testing.T) {
	t.Parallel()
	r := replaying(t, func(c *Config) { c.MaxQueueDepth = 20 })
	consume(t, r.broker, rabbit.CreatedQueue, true)
	ready := 0
	fill := func(n int) { // the holder keeps one more
		t.Helper()
		more := n - ready
		if ready == 0 {
			more++
		}
		r.broker.Publish(rabbit.CreatedQueue, slices.Repeat([][]byte{[]byte("{}")}, more)...)
		ready = n
		testenv.Eventually(t, time.Minute, func() bool { return r.broker.QueueStats(rabbit.CreatedQueue).Ready == n }, "the queue to fill")
	}
	for _, tt := range []struct {
		ready, want, granted int
		waits                bool // for a small credit to grow
	}{
		{0, 100, 20, false}, {0, 20, 20, false}, {0, 7, 7, false}, {0, 1, 1, false},
		{10, 100, 10, false}, {10, 10, 10, false}, {10, 3, 3, false},
		{15, 100, 5, false}, {16, 100, 4, true}, {16, 4, 4, false}, {19, 100, 1, true}, {19, 1, 1, false},
	} {
		if tt.ready != ready {
			fill(tt.ready)
		}
		begun := time.Now()
		n, err := r.Reserve(t.Context(), product.Missing, tt.want, nil)
		if err != nil || n != tt.granted {
			t.Errorf("%d waiting, %d wanted: %d are granted, %v; want %d", tt.ready, tt.want, n, err, tt.granted)
		}
		if waited := time.Since(begun) >= gather; waited != tt.waits && tt.waits {
			t.Errorf("%d waiting, %d wanted: it took %s", tt.ready, tt.want, time.Since(begun))
		}
		if reason := r.Throttle(); reason != "" {
			t.Errorf("it says that it pauses: %s", reason)
		}
	}
}

// pauses checks that Reserve pauses and says why, and goes on once the cause is gone.
func (r *replay) pauses(t *testing.T, unseen func(context.Context) (int, error), reason string, end func()) {
	t.Helper()
	type grant struct {
		n   int
		err error
	}
	granted := make(chan grant, 1)
	go func() {
		n, err := r.Reserve(t.Context(), product.Missing, 5, unseen)
		granted <- grant{n, err}
	}()
	testenv.Eventually(t, time.Minute, func() error {
		if got := r.Throttle(); !strings.Contains(got, reason) {
			return fmt.Errorf("it says %q", got)
		}
		return nil
	}, "the reason "+reason)
	select {
	case g := <-granted:
		t.Fatalf("it grants %d, %v, although %s", g.n, g.err, reason)
	default:
	}
	end()
	select {
	case g := <-granted:
		if g.n < 1 || g.n > 5 || g.err != nil {
			t.Errorf("after it was over that %s: %d are granted, %v", reason, g.n, g.err)
		}
	case <-time.After(time.Minute):
		t.Fatalf("it still pauses after it was over that %s: %s", reason, r.Throttle())
	}
	if got := r.Throttle(); got != "" {
		t.Errorf("it still says that it pauses: %s", got)
	}
}

func TestReservePauses(t *testing.T) {
	t.Parallel()
	r := replaying(t, func(c *Config) { c.MaxQueueDepth = 20 })
	holder := consume(t, r.broker, rabbit.CreatedQueue, true)
	if _, err := r.Reserve(t.Context(), product.Missing, 5, nil); err != nil {
		t.Fatal(err)
	}

	holder.leave(t)
	r.broker.Publish(rabbit.CreatedQueue, []byte("{}"))
	r.pauses(t, nil, "nobody consumes queue product-created (1 messages waiting)", func() { holder = consume(t, r.broker, rabbit.CreatedQueue, true) })

	r.broker.Publish(rabbit.CreatedQueue, slices.Repeat([][]byte{[]byte("{}")}, 23)...)
	r.pauses(t, nil, "holds 23 messages, the limit is 20 (REPLAY_MAX_QUEUE_DEPTH)", func() { r.broker.Drain(rabbit.CreatedQueue) })

	r.eyes.Cut()
	r.pauses(t, nil, "the depth of queue product-created cannot be read: ", r.eyes.Restore)

	r.eyes.Freeze()
	r.pauses(t, nil, "the broker does not answer", r.eyes.Thaw)

	r.publishing.Cut()
	testenv.Eventually(t, time.Minute, r.missing().current().IsClosed, "the channel to end with its connection")
	r.pauses(t, nil, "no broker answers", r.publishing.Restore)
}

func TestReserveLosesPatience(t *testing.T) {
	t.Parallel()
	r := replaying(t, func(c *Config) { c.MaxQueueDepth = 3 })
	consume(t, r.broker, rabbit.CreatedQueue, true)
	if _, err := r.Reserve(t.Context(), product.Missing, 5, nil); err != nil {
		t.Fatal(err)
	}
	r.patience = 600 * time.Millisecond
	r.broker.Publish(rabbit.CreatedQueue, slices.Repeat([][]byte{[]byte("{}")}, 9)...)
	begun := time.Now()
	n, err := r.Reserve(t.Context(), product.Missing, 5, nil)
	var paused *product.PausedError
	if !errors.As(err, &paused) || n != 0 {
		t.Fatalf("%d are granted, %v", n, err)
	}
	if took := time.Since(begun); paused.Waited < r.patience || paused.Waited > took || took > 20*time.Second {
		t.Errorf("waited %s of %s", paused.Waited, took)
	}
	if !strings.Contains(paused.Reason, "holds 8 messages, the limit is 3") {
		t.Errorf("reason %q", paused.Reason)
	}
	r.eyes.Cut()
	if _, err = r.Reserve(t.Context(), product.Missing, 5, nil); !errors.As(err, &paused) || !strings.Contains(paused.Reason, "cannot be read") {
		t.Errorf("while the depth cannot be read: %v", err)
	}

	because := errors.New("the run was stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	r.patience = time.Minute
	time.AfterFunc(100*time.Millisecond, func() { cancel(because) })
	begun = time.Now()
	if _, err := r.Reserve(ctx, product.Missing, 5, nil); !errors.Is(err, because) || time.Since(begun) > 5*time.Second {
		t.Errorf("a pause that was stopped took %s and ended with %v", time.Since(begun), err)
	}
}

// unseen is what a test says of our events that have not arrived.
type unseen struct {
	n       atomic.Int64
	problem atomic.Pointer[error]
}

func (u *unseen) ask(context.Context) (int, error) {
	if problem := u.problem.Load(); problem != nil {
		return 0, *problem
	}
	return int(u.n.Load()), nil
}

// What has not arrived uses up the credit, wherever it is.
func TestReserveCountsWhatHasNotArrived(t *testing.T) {
	t.Parallel()
	r := replaying(t, func(c *Config) { c.MaxQueueDepth = 20 })
	consume(t, r.broker, rabbit.CreatedQueue, true)
	r.broker.Publish(rabbit.CreatedQueue, slices.Repeat([][]byte{[]byte("{}")}, 11)...) // and one is held
	testenv.Eventually(t, time.Minute, func() bool { return r.broker.QueueStats(rabbit.CreatedQueue).Ready == 10 }, "the queue to fill")
	var u unseen
	for n, granted := range map[int64]int{0: 10, 9: 10, 10: 10, 12: 8, 19: 1} {
		u.n.Store(n)
		if got, err := r.Reserve(t.Context(), product.Missing, 100, u.ask); err != nil || got != granted {
			t.Errorf("10 waiting, %d not arrived: %d are granted, %v; want %d", n, got, err, granted)
		}
	}
	u.n.Store(20)
	r.pauses(t, u.ask, "events of queue product-created have not arrived in the cart yet, the limit is 20 (REPLAY_MAX_QUEUE_DEPTH)", func() { u.n.Store(3) })

	problem := errors.New("no answer from PostgreSQL")
	u.problem.Store(&problem)
	r.pauses(t, u.ask, "what of queue product-created has arrived in the cart cannot be read: no answer from PostgreSQL", func() { u.problem.Store(nil) })

	silent := func(ctx context.Context) (int, error) {
		if u.n.Load() > 0 {
			<-ctx.Done()
			return 0, context.Cause(ctx)
		}
		return 0, nil
	}
	r.pauses(t, silent, "the cart's database does not answer", func() { u.n.Store(0) })
}

// A consumer without prefetch takes everything at once, and the queue looks empty.
func TestConsumerWithoutPrefetch(t *testing.T) {
	t.Parallel()
	const most = 20
	r := replaying(t, func(c *Config) { c.MaxQueueDepth = most })
	cart := consumeWith(t, r.broker, rabbit.CreatedQueue, 0, true)
	repairs := repairsOf(t, 1, 200)
	published, arrived := 0, 0
	outstanding := func(context.Context) (int, error) {
		if held := len(cart.deliveries()) - arrived; held > most {
			t.Errorf("the consumer holds %d events, the limit is %d", held, most)
		}
		for _, d := range cart.deliveries()[arrived:min(arrived+3, len(cart.deliveries()))] { // it goes on, slowly
			if err := d.Ack(false); err != nil {
				t.Error(err)
			}
			arrived++
		}
		return published - arrived, nil
	}
	for published < len(repairs) {
		n, err := r.Reserve(t.Context(), product.Missing, len(repairs)-published, outstanding)
		if err != nil || n > most {
			t.Fatalf("%d are granted, %v", n, err)
		}
		confirmed(t, repairs[published:published+n], mustRepair(t, r, repairs[published:published+n]))
		published += n
	}
}

// Kinds do not wait for each other.
func TestOneKindPauses(t *testing.T) {
	t.Parallel()
	r := replaying(t, nil)
	consume(t, r.broker, rabbit.CreatedQueue, true)
	ctx, cancel := context.WithCancel(t.Context())
	paused := make(chan error, 1)
	go func() {
		_, err := r.Reserve(ctx, product.Orphaned, 5, nil)
		paused <- err
	}()
	testenv.Eventually(t, time.Minute, func() bool { return r.Paused().Cause == NoConsumer }, "the pause")
	for attempt := range 3 {
		repairs := repairsOf(t, 1, 20)
		confirmed(t, repairs, r.repair(t, attempt, repairs, 20))
	}
	if reason := r.Throttle(); !strings.Contains(reason, "nobody consumes queue product-deleted") {
		t.Errorf("it says %q", reason)
	}
	cancel()
	if err := <-paused; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Half of the queue's own limit is left to live traffic.
func TestQueueWithALimitOfItsOwn(t *testing.T) {
	t.Parallel()
	r := replaying(t, func(c *Config) { c.MaxQueueDepth = 200 })
	consume(t, r.broker, rabbit.CreatedQueue, true)
	policy(t, r.broker, "^product-created$", "queues", map[string]any{"max-length": 50})
	granted := func() int {
		t.Helper()
		n, err := r.Reserve(t.Context(), product.Missing, 1000, nil)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := granted(); n != 200 {
		t.Errorf("where the limit is not known: %d are granted", n)
	}
	management, err := rabbit.NewManagement(rabbit.Config{URL: secret.URL(r.broker.URL), ManagementURL: secret.URL(r.broker.Management)})
	if err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, time.Minute, func() error {
		limits, err := management.Limits(t.Context(), rabbit.CreatedQueue)
		if err == nil && limits.Messages != 50 {
			err = fmt.Errorf("they are %+v", limits)
		}
		return err
	}, "the policy to apply")
	r.Management = management
	if n := granted(); n != 25 {
		t.Errorf("where the limit is 50: %d are granted", n)
	}
	if bounds := r.Bounds(); len(bounds) != 1 || bounds[product.Missing] != (rabbit.QueueLimits{Messages: 50}) {
		t.Errorf("the queues' own limits: %v", bounds)
	}
	r.Lost(product.Missing)
	if n := granted(); n != 25 {
		t.Errorf("after a loss that the limit does not explain: %d are granted", n)
	}
	r.broker.Publish(rabbit.CreatedQueue, slices.Repeat([][]byte{[]byte("{}")}, 31)...)
	r.pauses(t, nil, "holds 30 messages, the limit is 25 (half of its own length limit of 50)", func() { r.broker.Drain(rabbit.CreatedQueue) })

	// A policy that comes later is noticed after the first loss.
	r.missing().limit = limit{most: 200, known: true, asked: true}
	if n := granted(); n != 200 {
		t.Errorf("before the policy: %d are granted", n)
	}
	r.Lost(product.Missing)
	if n := granted(); n != 25 {
		t.Errorf("after a loss by the policy: %d are granted", n)
	}
}

// Where the queue's limit is not known, losses tell of it; what it was seen to hold it
// has not dropped.
func TestQueueThatDropsEvents(t *testing.T) {
	t.Parallel()
	r := replaying(t, func(c *Config) { c.MaxQueueDepth = 200 })
	holder := consume(t, r.broker, rabbit.CreatedQueue, true)
	policy(t, r.broker, "^product-created$", "queues", map[string]any{"max-length": 50})
	r.broker.Publish(rabbit.CreatedQueue, []byte("{}"))
	testenv.Eventually(t, time.Minute, func() bool { return len(holder.deliveries()) == 1 }, "the consumer to hold its message")
	repairs := repairsOf(t, 1, 200)
	grants := []int{}
	for range 6 {
		n, err := r.Reserve(t.Context(), product.Missing, 200, nil)
		if err != nil {
			t.Fatal(err)
		}
		grants = append(grants, n)
		confirmed(t, repairs[:n], mustRepair(t, r, repairs[:n]))
		r.missing().credit(t.Context(), nil) // the next look at the depth
		r.broker.Drain(rabbit.CreatedQueue)
		for range n {
			r.Lost(product.Missing) // one for each product
		}
	}
	if want := []int{200, 100, 50, 25, 25, 25}; !slices.Equal(grants, want) {
		t.Errorf("granted: %v, want %v", grants, want)
	}
	r.broker.Publish(rabbit.CreatedQueue, slices.Repeat([][]byte{[]byte("{}")}, 26)...)
	r.pauses(t, nil, "the limit is 25 (lowered from REPLAY_MAX_QUEUE_DEPTH after events were lost or refused)", func() { r.broker.Drain(rabbit.CreatedQueue) })
}
