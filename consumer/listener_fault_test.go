package consumer

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
)

// No matter how long the ledger is away: the message waits, is not dead, and what
// waits behind it is handled afterwards.
func TestListenerOutlivesItsLedger(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	s := listen(t, broker, broker.URL)
	bell := doorbell(t, broker.URL)
	broker.Restrict(RequestQueue, map[string]any{"delivery-limit": 2})
	s.ledger.fail(errAway)
	first, second := wanted(t), wanted(t)
	for _, r := range []run.Request{first, second} {
		if err := bell.Ring(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Eventually(t, patience, func() bool { return s.ledger.Calls("Accept") >= 6 }, "several tries")
	if state := s.State(); !state.Connected || state.Err != "the ledger does not answer: the database is away" {
		t.Errorf("the state is %+v", state)
	}
	s.ledger.fail(nil)
	testenv.Eventually(t, patience, func() bool { return s.ledger.has(first.ID) && s.ledger.has(second.ID) }, "both runs")
	s.handled(t)
	if n := broker.QueueStats(DeadQueue).Ready; n > 0 {
		t.Errorf("%d dead letters", n)
	}
	s.connected(t)
	if n, m := s.log.count("holding a sync request"), s.log.count("going on with sync requests"); n != 1 || m != 1 {
		t.Errorf("it logged the loss %d times and the return %d times", n, m)
	}
}

// The broker takes a message back that is held for too long. It comes again, and
// that the ledger was away is still no fault of its.
func TestListenerHoldsForTooLong(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	if err := Declare(t.Context(), connect(t, broker.URL)); err != nil {
		t.Fatal(err)
	}
	broker.Restrict(RequestQueue, map[string]any{"consumer-timeout": 1000})
	s := listen(t, broker, broker.URL)
	s.ledger.fail(errAway)
	request := wanted(t)
	if err := doorbell(t, broker.URL).Ring(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, patience, func() bool { return broker.QueueStats(RequestQueue).Ready == 1 }, "the broker to take the message back")
	s.ledger.fail(nil)
	testenv.Eventually(t, patience, func() bool { return s.log.count("sync request accepted") >= 2 }, "the message to come again")
	if ids := s.ledger.ids(); !slices.Equal(ids, []string{request.ID}) {
		t.Errorf("runs %v", ids)
	}
	s.connected(t)
	s.handled(t)
}

func TestListenerStopsWhileItsLedgerIsAway(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	s := listen(t, broker, broker.URL)
	s.ledger.fail(errAway)
	if err := doorbell(t, broker.URL).Ring(t.Context(), wanted(t)); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, patience, func() bool { return s.State().Err != "" }, "the message to be held")
	s.stop()
	testenv.Eventually(t, patience, func() bool { return broker.QueueStats(RequestQueue).Ready == 1 }, "the message to be back")
}

func TestListenerOutlivesItsQueue(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	s := listen(t, broker, broker.URL)
	bell := doorbell(t, broker.URL)
	for range 2 {
		broker.Do(func(ch *amqp.Channel) error { _, err := ch.QueueDelete(RequestQueue, false, false, false); return err })
		s.accepted(t, bell)
	}
	if n := s.log.count("the broker cancelled the subscription: queue etl.sync was deleted"); n != 2 {
		t.Errorf("it logged the loss %d times", n)
	}
}

func TestListenerOutlivesItsConnection(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	proxy, url := testenv.ProxyTo(t, broker.URL)
	s := listen(t, broker, url)
	bell := doorbell(t, broker.URL)
	s.accepted(t, bell)
	proxy.Reset()
	s.accepted(t, bell)

	before := s.State()
	proxy.Cut()
	refused := proxy.Accepted()
	testenv.Eventually(t, patience, func() bool {
		return strings.Contains(s.State().Err, "no broker answers: check the host of RABBITMQ_ENDPOINT")
	}, "several tries to fail")
	if state := s.State(); state.Connected || !state.Since.After(before.Since) || proxy.Accepted() != refused {
		t.Errorf("the state is %+v", state)
	}
	proxy.Restore()
	s.accepted(t, bell)
	if n := s.log.count("not listening for sync requests"); n != 2 {
		t.Errorf("two losses were logged %d times", n)
	}
	s.handled(t)
}

// The connection goes while a message is held. It comes again.
func TestListenerLosesItsConnectionInTheMiddle(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	proxy, url := testenv.ProxyTo(t, broker.URL)
	s := listen(t, broker, url)
	s.ledger.fail(errAway)
	request := wanted(t)
	if err := doorbell(t, broker.URL).Ring(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, patience, func() bool { return s.State().Err != "" }, "the message to be held")
	proxy.Reset()
	testenv.Eventually(t, patience, func() bool { return broker.QueueStats(RequestQueue).Ready == 1 }, "the message to be back")
	s.ledger.fail(nil)
	testenv.Eventually(t, patience, func() bool { return s.log.count("sync request accepted") == 2 }, "the message to come again")
	if ids := s.ledger.ids(); !slices.Equal(ids, []string{request.ID}) {
		t.Errorf("runs %v", ids)
	}
	s.handled(t)
}

func TestListenerOutlivesTheBroker(t *testing.T) {
	t.Parallel()
	node, broker := testenv.PrivateBroker(t)
	s := listen(t, broker, broker.URL)
	bell := doorbell(t, broker.URL)
	s.accepted(t, bell)
	s.ledger.fail(errAway)
	request := wanted(t)
	if err := bell.Ring(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, patience, func() bool { return s.State().Err != "" }, "the message to be held")
	if err := node.Kill(); err != nil {
		t.Fatal(err)
	}
	s.ledger.fail(nil)
	testenv.Eventually(t, patience, func() bool { return !s.State().Connected && s.State().Err != "" }, "the loss to be seen")
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	s.accepted(t, bell)
	if !s.ledger.has(request.ID) {
		t.Error("the message that was held is lost")
	}
	s.handled(t)
}

// A full queue of dead letters loses nothing: the invalid request is kept until
// there is room, and then what waits behind it is handled.
func TestFullDeadQueue(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	s := listen(t, broker, broker.URL)
	broker.Restrict(DeadQueue, map[string]any{"max-length": 1})
	refused := 0
	testenv.Eventually(t, patience, func() bool { // it may hold a few more than its limit
		publishSync(broker, fmt.Sprintf(`{"version":1,"maxRepairs":%d}`, -1-refused))
		refused++
		return s.State().Err != ""
	}, "the dead letters to be full")
	testenv.CheckMessage(t, fmt.Errorf("%s", s.State().Err), "an invalid request finds no place in queue etl.dead (see etl dead list)", "the queue is full")
	request := wanted(t)
	if err := doorbell(t, broker.URL).Ring(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	conn, dropped := connect(t, broker.URL), 0
	testenv.Eventually(t, patience, func() bool {
		n, err := DropDead(t.Context(), conn, func(DeadLetter) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		dropped += n
		return dropped == refused && s.ledger.has(request.ID)
	}, "all invalid requests to be dead letters, and the valid one to be a run")
	s.handled(t)
}
