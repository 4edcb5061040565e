package consumer

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
)

// listening is a listener that runs.
type listening struct {
	*Listener
	broker *testenv.Broker
	ledger *memory
	log    *logbook
	rings  atomic.Int64
	stop   func() // ends it and waits
}

// listen starts a listener and waits until it is subscribed. It ends with the test.
func listen(t *testing.T, broker *testenv.Broker, url string) *listening {
	t.Helper()
	s := &listening{broker: broker, ledger: newMemory(), log: &logbook{}}
	s.Listener = NewListener(connect(t, url), s.ledger, Config{Messages: messagesRepair}, func() { s.rings.Add(1) }, s.log.logger())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	s.stop = func() {
		t.Helper()
		cancel()
		select {
		case err := <-ended:
			ended <- nil
			if err != nil || s.State().Connected {
				t.Errorf("it ended with %v, state %+v", err, s.State())
			}
		case <-time.After(patience):
			t.Fatal("it does not end")
		}
	}
	t.Cleanup(s.stop)
	s.connected(t)
	return s
}

func (s *listening) connected(t *testing.T) {
	t.Helper()
	testenv.Eventually(t, patience, func() error {
		if state := s.State(); !state.Connected || state.Err != "" {
			return fmt.Errorf("it is %+v", state)
		}
		return nil
	}, "the listener to be subscribed")
}

// handled waits until no message is left, waiting or held.
func (s *listening) handled(t *testing.T) {
	t.Helper()
	testenv.Eventually(t, patience, func() error {
		var q struct {
			Messages int `json:"messages"`
		}
		s.broker.Manage(http.MethodGet, "/api/queues/"+s.broker.Vhost+"/"+RequestQueue+"?disable_stats=true", nil, &q)
		if ready := s.broker.QueueStats(RequestQueue).Ready; q.Messages+ready > 0 {
			return fmt.Errorf("%d messages, %d ready", q.Messages, ready)
		}
		return nil
	}, "all messages to be handled")
}

// accepted rings and waits until the ledger has the run.
func (s *listening) accepted(t *testing.T, bell *Doorbell) {
	t.Helper()
	request := wanted(t)
	testenv.Eventually(t, patience, func() error { return bell.Ring(t.Context(), request) }, "the doorbell to work")
	testenv.Eventually(t, patience, func() bool { return s.ledger.has(request.ID) }, "the run to be recorded")
}

func TestListener(t *testing.T) {
	t.Parallel()
	const id = "0198c0de-0000-7000-8000-00000000000a"
	for _, tt := range []struct {
		name, body string
		reason     string // of the dead letter, where it is one
		runs       int
		waits      bool // for a newer version
	}{
		{name: "the least", body: `{"version":1}`, runs: 1},
		{name: "with an id", body: `{"version":1,"id":"` + id + `"}`, runs: 1},
		{name: "kinds", body: `{"version":1,"repair":"orphaned,stale","maxDeletes":3}`, runs: 1},
		{name: "an unknown kind", body: `{"version":1,"repair":["stale","all"]}`, reason: `repair must name missing, stale or orphaned, or several of them such as "missing,stale"`},
		{name: "recorded and gone", body: `{"version":1,"id":"` + id + `","recorded":true}`},
		{name: "empty", body: ``, reason: "must be a JSON object"},
		{name: "no JSON", body: `hello`, reason: "must be a JSON object"},
		{name: "cut short", body: `{"version":1,`, reason: "is no valid JSON"},
		{name: "no version", body: `{"dryRun":true}`, reason: "version must be 1"},
		{name: "a newer version", body: `{"version":2,"id":"` + id + `","mode":7}`, runs: 1, waits: true},
		{name: "an unknown field", body: `{"version":1,"dryrun":true}`, runs: 1, waits: true},
		{name: "an unknown field, and what is wrong", body: `{"version":1,"dryrun":true,"mode":"x"}`, reason: "dryrun is not a field of a sync request; mode must be"},
		{name: "of a newer version, recorded and gone", body: `{"version":2,"id":"` + id + `","recorded":true}`},
		{name: "not UTF-8", body: "{\"version\":1,\"reason\":\"\xff\"}", reason: "UTF-8"},
		{name: "too long", body: `{"version":1,"reason":"` + strings.Repeat("a", MaxBody) + `"}`, reason: "at most 1048576 are read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			broker := testenv.Vhost(t)
			s := listen(t, broker, broker.URL)
			message := amqp.Publishing{Body: []byte(tt.body), MessageId: "m", ContentType: "text/x", UserId: "", Headers: amqp.Table{"x-mine": "1"}}
			broker.PublishTo(Exchange, RequestKey, message)
			log := map[bool]string{true: "sync request accepted", false: "sync request dropped"}[tt.runs > 0]
			switch {
			case tt.reason != "":
				log = "sync request refused"
			case tt.waits:
				log = "sync request kept for a newer version"
			}
			testenv.Eventually(t, patience, func() bool { return s.log.count(log) == 1 }, "the message to be handled")
			s.handled(t)
			rings := tt.runs
			if tt.waits {
				rings = 0
				if all := s.ledger.All(); len(all) != 1 || all[0].Status != run.StatusWaiting || !strings.HasPrefix(all[0].Error, "needs a newer version of etl, which") {
					t.Errorf("the ledger has %+v", all)
				}
			}
			if runs := len(s.ledger.ids()); runs != tt.runs || int(s.rings.Load()) != rings {
				t.Errorf("%d runs, %d rings", runs, s.rings.Load())
			}
			dead := broker.Drain(DeadQueue)
			if tt.reason == "" {
				if len(dead) > 0 {
					t.Errorf("dead letters: %v", dead)
				}
				return
			}
			if len(dead) != 1 {
				t.Fatalf("%d dead letters", len(dead))
			}
			reason, _ := dead[0].Headers[headerReason].(string)
			at, _ := dead[0].Headers[headerAt].(time.Time)
			if !strings.Contains(reason, tt.reason) || at.IsZero() || dead[0].MessageId != "m" || dead[0].ContentType != "text/x" || dead[0].DeliveryMode != amqp.Persistent {
				t.Errorf("the dead letter is %+v", dead[0])
			}
			if want := tt.body[:min(len(tt.body), MaxBody)]; string(dead[0].Body) != want {
				t.Errorf("its body is %d bytes", len(dead[0].Body))
			}
		})
	}
}

// A person publishes a message with the management UI, which uses this call.
func TestListenerTakesWhatAPersonPublishes(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	s := listen(t, broker, broker.URL)
	var answer struct {
		Routed bool `json:"routed"`
	}
	broker.Manage(http.MethodPost, "/api/exchanges/"+broker.Vhost+"/"+Exchange+"/publish", map[string]any{
		"properties": map[string]any{}, "routing_key": RequestKey, "payload_encoding": "string",
		"payload": `{"version": 1, "dryRun": true, "requestedBy": "me", "reason": "just looking"}`,
	}, &answer)
	if !answer.Routed {
		t.Fatal("it was not routed")
	}
	testenv.Eventually(t, patience, func() bool { return len(s.ledger.ids()) == 1 }, "the run to be recorded")
	if record := s.ledger.All()[0]; !record.Request.DryRun || record.Request.By != "me" || record.Request.Trigger != run.ByMessage {
		t.Errorf("the run is %+v", record)
	}
}

func TestRepeatedMessagesAreOneRun(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	s := listen(t, broker, broker.URL)
	request := wanted(t)
	bell := doorbell(t, broker.URL)
	for range 5 {
		if err := bell.Ring(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Eventually(t, patience, func() bool { return s.log.count("sync request accepted") == 5 }, "all to be handled")
	if ids := s.ledger.ids(); !slices.Equal(ids, []string{request.ID}) {
		t.Errorf("runs %v", ids)
	}
	s.handled(t)
}

// What the logs and headers say of a message is bounded and cannot forge lines.
func TestListenerLogsWhatOthersWrote(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	s := listen(t, broker, broker.URL)
	name, err := json.Marshal("a\nlevel=ERROR msg=forged " + strings.Repeat("é", 1000))
	if err != nil {
		t.Fatal(err)
	}
	body := `{"version":1`
	for i := range 30 {
		body += fmt.Sprintf(`,"%d%s:1`, i, name[1:])
	}
	publishSync(broker, body+"}")
	testenv.Eventually(t, patience, func() bool { return s.log.count("sync request refused") == 1 }, "the message to be handled")
	dead := broker.Drain(DeadQueue)
	if len(dead) != 1 {
		t.Fatalf("%d dead letters", len(dead))
	}
	if reason, _ := dead[0].Headers[headerReason].(string); len(reason) > maxReason || len(reason) < maxReason-10 {
		t.Errorf("the reason has %d bytes: %s", len(reason), reason)
	}
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	for line := range strings.Lines(s.log.text.String()) {
		if !strings.HasPrefix(line, "time=") {
			t.Errorf("a line of its own: %s", line)
		}
	}
}

// What the ledger refuses for good is dead, and stops nothing behind it.
func TestListenerWhenTheLedgerRefuses(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	s := listen(t, broker, broker.URL)
	for i, tt := range []struct {
		problem error
		want    string
	}{
		{fmt.Errorf("apply: %w", run.ErrNotFound), "apply: no such run"},
		{&run.InvalidError{Fields: []run.FieldError{{Field: "apply", Message: "is no dry run"}}}, "invalid sync request: apply is no dry run"},
	} {
		s.ledger.fail(tt.problem)
		publishSync(broker, `{"version":1}`)
		testenv.Eventually(t, patience, func() bool { return s.log.count("sync request refused") == i+1 }, "the message to be handled")
		letters, err := DeadLetters(t.Context(), connect(t, broker.URL), 10)
		if err != nil || len(letters) != i+1 || letters[i].Reason != tt.want {
			t.Errorf("the dead letters are %+v, %v", letters, err)
		}
	}
	s.ledger.fail(nil)
	s.accepted(t, doorbell(t, broker.URL))
}

// What others may ask for by a message is a matter of ETL_MESSAGES; a message that claims to
// come from elsewhere is one all the same, and ours, which the ledger has, are never refused.
func TestMessagesOfOthers(t *testing.T) {
	t.Parallel()
	for messages, want := range map[string]struct{ look, repair bool }{"repair": {true, true}, "look": {true, false}, "none": {false, false}} {
		t.Run(messages, func(t *testing.T) {
			t.Parallel()
			config := Config{Messages: messages}
			for _, dryRun := range []bool{true, false} {
				err := config.refuses(&run.Request{Order: run.Order{DryRun: dryRun}})
				if taken := err == nil; taken != (want.look && dryRun || want.repair && !dryRun) {
					t.Errorf("dry run %t: %v", dryRun, err)
				}
				if err != nil && !strings.Contains(err.Error(), "ETL_MESSAGES is "+messages) {
					t.Error(err)
				}
			}
		})
	}
}
