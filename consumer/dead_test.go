package consumer

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/testenv"
)

// buried makes dead letters with the message ids 1, 2, ….
func buried(t *testing.T, n int) (*testenv.Broker, *rabbit.Connection) {
	t.Helper()
	broker := testenv.Vhost(t)
	conn := connect(t, broker.URL)
	if err := Declare(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		d := amqp.Delivery{MessageId: strconv.Itoa(i + 1), AppId: "someone", ContentType: "application/json", Body: []byte(`{"version":1}`)}
		broker.PublishTo(Exchange, DeadKey, deadLetter(d, "reason "+strconv.Itoa(i+1), time.Now()))
	}
	return broker, conn
}

func look(t *testing.T, conn *rabbit.Connection, limit int) (ids []string) {
	t.Helper()
	letters, err := DeadLetters(t.Context(), conn, limit)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range letters {
		if l.Number != i+1 || l.Reason != "reason "+l.MessageID || l.At.IsZero() || l.AppID != "someone" || string(l.Body) != `{"version":1}` || l.Cut() {
			t.Errorf("a dead letter is %+v", l)
		}
		ids = append(ids, l.MessageID)
	}
	return ids
}

// Looking changes neither the order nor, however often, what there is.
func TestDeadLettersStay(t *testing.T) {
	t.Parallel()
	_, conn := buried(t, 5)
	for i := range 60 {
		if got := look(t, conn, 100); !slices.Equal(got, []string{"1", "2", "3", "4", "5"}) {
			t.Fatalf("look %d: %v", i, got)
		}
		if got := look(t, conn, 2); !slices.Equal(got, []string{"1", "2"}) {
			t.Fatalf("look %d at two: %v", i, got)
		}
	}
}

func TestNoDeadLetters(t *testing.T) {
	t.Parallel()
	conn := connect(t, testenv.Vhost(t).URL) // where nothing is declared yet
	if got := look(t, conn, 100); len(got) > 0 {
		t.Errorf("there are %v", got)
	}
}

func TestRequeueDead(t *testing.T) {
	t.Parallel()
	broker, conn := buried(t, 5)
	n, err := RequeueDead(t.Context(), conn, func(l DeadLetter) bool { return l.Number%2 == 0 })
	if n != 2 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	got := broker.Drain(RequestQueue)
	if len(got) != 2 || got[0].MessageId != "2" || got[1].MessageId != "4" || len(got[0].Headers) > 0 || got[0].ContentType != "application/json" {
		t.Errorf("requeued were %+v", got)
	}
	if left := look(t, conn, 100); !slices.Equal(left, []string{"1", "3", "5"}) {
		t.Errorf("left are %v", left)
	}
}

func TestDropDead(t *testing.T) {
	t.Parallel()
	broker, conn := buried(t, 5)
	n, err := DropDead(t.Context(), conn, func(l DeadLetter) bool { return l.MessageID != "3" })
	if n != 4 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if left := look(t, conn, 100); !slices.Equal(left, []string{"3"}) {
		t.Errorf("left are %v", left)
	}
	if n := broker.QueueStats(RequestQueue).Ready; n > 0 {
		t.Errorf("%d were requeued", n)
	}
}

// What is invalid dies again at once, while the others are still being requeued.
func TestRequeueWhatDiesAgain(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	s := listen(t, broker, broker.URL)
	conn := connect(t, broker.URL)
	for i := range 10 {
		publishSync(broker, fmt.Sprintf(`{"version":%d}`, -i))
	}
	dead := func() {
		t.Helper()
		testenv.Eventually(t, patience, func() bool { return broker.QueueStats(DeadQueue).Ready == 10 }, "ten dead letters")
	}
	dead()
	n, err := RequeueDead(t.Context(), conn, func(l DeadLetter) bool { return true })
	if n != 10 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	s.handled(t)
	dead()
	if n := s.log.count("sync request refused"); n != 20 {
		t.Errorf("%d were refused", n)
	}
}

func TestCutDeadLetter(t *testing.T) {
	t.Parallel()
	broker, conn := buried(t, 0)
	d := amqp.Delivery{MessageId: "long", Body: bytes.Repeat([]byte("a"), MaxBody+1)}
	broker.PublishTo(Exchange, DeadKey, deadLetter(d, "long", time.Now()))
	n, err := RequeueDead(t.Context(), conn, func(l DeadLetter) bool { return l.Cut() && len(l.Body) == MaxBody && l.Size == MaxBody+1 })
	if n != 0 {
		t.Errorf("%d were requeued", n)
	}
	testenv.CheckMessage(t, err, "dead letter 1 was cut from 1048577 to 1048576 bytes and cannot be requeued: drop it")
	if n, err := DropDead(t.Context(), conn, func(DeadLetter) bool { return true }); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// Requeueing that fails leaves the dead letters where they are.
func TestRequeueIntoAFullQueue(t *testing.T) {
	t.Parallel()
	broker, conn := buried(t, 20)
	broker.Restrict(RequestQueue, map[string]any{"max-length": 1})
	n, err := RequeueDead(t.Context(), conn, func(DeadLetter) bool { return true })
	testenv.CheckMessage(t, err, "the queue is full")
	if requeued, left := len(broker.Drain(RequestQueue)), len(look(t, conn, 100)); requeued != n || left != 20-n {
		t.Errorf("%d of %d were requeued, %d are left", requeued, n, left)
	}
}

// Whoever takes a request and fails with it each time loses it to the dead letters.
func TestDeadByDeliveryLimit(t *testing.T) {
	t.Parallel()
	broker, conn := buried(t, 0)
	broker.Restrict(RequestQueue, map[string]any{"delivery-limit": 2})
	broker.PublishTo(Exchange, RequestKey, amqp.Publishing{MessageId: "poison", Body: []byte(`{"version":1}`)})
	testenv.Eventually(t, patience, func() bool {
		broker.Do(func(ch *amqp.Channel) error {
			d, ok, err := ch.Get(RequestQueue, false)
			if ok {
				err = d.Reject(true)
			}
			return err
		})
		return broker.QueueStats(DeadQueue).Ready == 1
	}, "the message to be dead")
	letters, err := DeadLetters(t.Context(), conn, 10)
	if err != nil || len(letters) != 1 {
		t.Fatalf("%v, %v", letters, err)
	}
	if l := letters[0]; l.MessageID != "poison" || l.Reason != "it came back to queue etl.sync too often without being acknowledged: whoever took it ended or lost the connection each time" || time.Since(l.At) > time.Minute || l.At.IsZero() {
		t.Errorf("the dead letter is %+v", l)
	}
	s := listen(t, broker, broker.URL)
	if n, err := RequeueDead(t.Context(), conn, func(DeadLetter) bool { return true }); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	testenv.Eventually(t, patience, func() bool { return len(s.ledger.ids()) == 1 }, "its run")
}

func TestReasonsOfOthers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		headers amqp.Table
		want    string
	}{
		{nil, "no reason was given: it was published to etl.dead by somebody else"},
		{amqp.Table{"x-death": "nonsense"}, "no reason was given: it was published to etl.dead by somebody else"},
		{amqp.Table{"x-death": []any{"nonsense"}}, "RabbitMQ moved it from queue : <nil>"},
		{amqp.Table{"x-death": []any{amqp.Table{"queue": "q", "reason": "rejected"}}}, "RabbitMQ moved it from queue q: rejected"},
		{amqp.Table{headerReason: int32(7), headerSize: "x"}, "no reason was given: it was published to etl.dead by somebody else"},
	} {
		if got := read(amqp.Delivery{Headers: tt.headers}, 1); got.Reason != tt.want || !got.At.IsZero() || got.Cut() {
			t.Errorf("%v: %+v", tt.headers, got)
		}
	}
}

func TestDeadLettersOfASilentBroker(t *testing.T) {
	t.Parallel()
	broker, _ := buried(t, 3)
	proxy, url := testenv.ProxyTo(t, broker.URL)
	conn := connect(t, url)
	if got := look(t, conn, 100); len(got) != 3 {
		t.Fatalf("there are %v", got)
	}
	proxy.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := DeadLetters(ctx, conn, 100); err == nil {
		t.Error("a silent broker told its dead letters")
	}
	proxy.Thaw()
	testenv.Eventually(t, patience, func() bool { return len(look(t, conn, 100)) == 3 }, "all of them to be seen again")
}
