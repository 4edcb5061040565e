package consumer

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
)

func doorbell(t *testing.T, url string) *Doorbell {
	t.Helper()
	bell := NewDoorbell(connect(t, url))
	t.Cleanup(bell.Close)
	return bell
}

func TestRing(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	bell := doorbell(t, broker.URL)
	request := run.Request{Version: run.RequestVersion, By: "someone", Key: "a key", Expires: time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond),
		Order: run.Order{DryRun: true, IDs: []product.ID{"a", "b"}, Repair: run.Kinds{product.Stale, product.Orphaned}, MaxDeletes: 5, Reason: "because"}}
	if err := request.Check(); err != nil {
		t.Fatal(err)
	}
	if err := bell.Ring(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	messages := broker.Drain(RequestQueue)
	if len(messages) != 1 {
		t.Fatalf("%d messages", len(messages))
	}
	m := messages[0]
	if m.DeliveryMode != amqp.Persistent || m.MessageId != request.ID || m.ContentType != "application/json" || m.Type != "sync-request" || m.AppId != "etl" || m.Timestamp.IsZero() {
		t.Errorf("the message is %+v", m)
	}
	got, err := run.DecodeRequest(m.Body)
	if err != nil || !reflect.DeepEqual(got, request) {
		t.Errorf("it says %+v, %v; want %+v", got, err, request)
	}
}

func TestRingConcurrently(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	bell := doorbell(t, broker.URL)
	var ringing sync.WaitGroup
	var ids []string
	for range 20 {
		request := wanted(t)
		ids = append(ids, request.ID)
		ringing.Go(func() {
			if err := bell.Ring(t.Context(), request); err != nil {
				t.Error(err)
			}
		})
	}
	ringing.Wait()
	var got []string
	for _, m := range broker.Drain(RequestQueue) {
		got = append(got, m.MessageId)
	}
	slices.Sort(ids)
	slices.Sort(got)
	if !slices.Equal(got, ids) {
		t.Errorf("%d messages of %d", len(got), len(ids))
	}
}

func TestRingTooMuch(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	bell := doorbell(t, broker.URL)
	request := wanted(t)
	for i := range 400 {
		request.IDs = append(request.IDs, product.ID(strings.Repeat("x", 2990)+fmt.Sprint(i)))
	}
	testenv.CheckMessage(t, bell.Ring(t.Context(), request), "a message holds at most 1048576: name fewer products")
}

func TestRingAtAFullQueue(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	bell := doorbell(t, broker.URL)
	if err := bell.Ring(t.Context(), wanted(t)); err != nil {
		t.Fatal(err)
	}
	broker.Restrict(RequestQueue, map[string]any{"max-length": 2})
	var err error
	testenv.Eventually(t, patience, func() bool { // it may hold a few more than its limit
		err = bell.Ring(t.Context(), wanted(t))
		return err != nil
	}, "a refusal")
	testenv.CheckMessage(t, err, "the broker refused the message: the queue is full")
	broker.Drain(RequestQueue)
	testenv.Eventually(t, patience, func() error { return bell.Ring(t.Context(), wanted(t)) }, "room")
}

func TestRingWithoutItsQueue(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		remove func(*amqp.Channel) error
		want   string
	}{
		"the binding": {func(ch *amqp.Channel) error { return ch.QueueUnbind(RequestQueue, RequestKey, Exchange, nil) },
			"the broker has no queue for routing key sync of exchange etl (312 NO_ROUTE)"},
		"the queue": {func(ch *amqp.Channel) error { _, err := ch.QueueDelete(RequestQueue, false, false, false); return err },
			"the broker has no queue for routing key sync of exchange etl (312 NO_ROUTE)"},
		"the exchange": {func(ch *amqp.Channel) error { return ch.ExchangeDelete(Exchange, false, false) },
			"exchange etl does not exist any more: try again, it is declared anew"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := testenv.Vhost(t)
			bell := doorbell(t, broker.URL)
			if err := bell.Ring(t.Context(), wanted(t)); err != nil {
				t.Fatal(err)
			}
			broker.Do(tt.remove)
			testenv.CheckMessage(t, bell.Ring(t.Context(), wanted(t)), tt.want)
			if err := bell.Ring(t.Context(), wanted(t)); err != nil {
				t.Errorf("the next one: %v", err)
			}
		})
	}
}

func TestRingAfterALostConnection(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	proxy, url := testenv.ProxyTo(t, broker.URL)
	bell := doorbell(t, url)
	if err := bell.Ring(t.Context(), wanted(t)); err != nil {
		t.Fatal(err)
	}
	proxy.Cut()
	testenv.Eventually(t, patience, func() bool {
		err := bell.Ring(t.Context(), wanted(t))
		return err != nil && strings.Contains(err.Error(), "no broker answers: check the host of RABBITMQ_ENDPOINT")
	}, "the loss to be told")
	proxy.Restore()
	request := wanted(t)
	if err := bell.Ring(t.Context(), request); err != nil {
		t.Error(err)
	}
	messages := broker.Drain(RequestQueue)
	if last := messages[len(messages)-1]; last.MessageId != request.ID {
		t.Errorf("the last message is %s", last.MessageId)
	}
}

// A broker that hangs costs each caller the time that it gave, no more.
func TestRingAtASilentBroker(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	proxy, url := testenv.ProxyTo(t, broker.URL)
	bell := doorbell(t, url)
	if err := bell.Ring(t.Context(), wanted(t)); err != nil {
		t.Fatal(err)
	}
	proxy.Freeze()
	var ringing sync.WaitGroup
	for range 3 {
		ringing.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if err := bell.Ring(ctx, wanted(t)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the error is %v", err)
			}
		})
	}
	testenv.CheckMessage(t, bell.Ring(t.Context(), wanted(t)), "the broker does not answer in time")
	ringing.Wait()
	proxy.Thaw()
	testenv.Eventually(t, patience, func() error { return bell.Ring(t.Context(), wanted(t)) }, "the broker to answer again")
}

func TestRingAtABlockedBroker(t *testing.T) {
	t.Parallel()
	node, broker := testenv.PrivateBroker(t)
	bell := doorbell(t, broker.URL)
	if err := bell.Ring(t.Context(), wanted(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := node.Control("set_vm_memory_high_watermark", "absolute", "1"); err != nil {
		t.Fatal(err)
	}
	var err error
	testenv.Eventually(t, patience, func() bool { // the alarm goes off within seconds
		err = bell.Ring(t.Context(), wanted(t))
		return err != nil
	}, "the alarm")
	testenv.CheckMessage(t, err, "the broker takes no messages at present", "memory", "free memory or disk space")
	if _, err := node.Control("set_vm_memory_high_watermark", "absolute", "1GB"); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, patience, func() error { return bell.Ring(t.Context(), wanted(t)) }, "the broker to take messages again")
}
