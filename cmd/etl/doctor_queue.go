package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ecom-micro/etl/internal/app"
	"github.com/ecom-micro/etl/internal/delivery"
	"github.com/ecom-micro/etl/internal/rabbit"
	plain "github.com/ecom-micro/etl/internal/text"
)

// queueExam is what doctor looks at of one of the cart's queues.
type queueExam struct {
	*doctor
	broker *app.Broker // without its management API where that does not answer
	queue  string
	depth  int // REPLAY_MAX_QUEUE_DEPTH
}

// short is the queue's name as lines show it.
func (q *queueExam) short() string { return strings.TrimPrefix(q.queue, "product-") }

// examine looks at the queue. Consumers that have just come are waited for until
// patience ends: the management API lists them before it knows who they are. It reports
// whether that API shows no figures of the queue.
func (q *queueExam) examine(ctx, patience context.Context) (blind bool) {
	state, err := q.broker.Monitor.Queue(q.queue).State(ctx)
	if err != nil {
		q.fail("queue "+q.short(), err)
		return false
	}
	if q.broker.Management == nil {
		q.look(state, nil, q.broker.Nameless(state.Consumers))
		return false
	}
	details, consumers, err := q.ask(ctx, patience, state.Consumers)
	if err != nil {
		q.warn("queue "+q.short(), err.Error())
		q.look(state, nil, q.broker.Nameless(state.Consumers))
		return false
	}
	q.look(state, details, consumers)
	q.rules(ctx, details)
	return details.Messages == nil
}

// ask asks the management API until it knows the consumers, or patience ends.
func (q *queueExam) ask(ctx, patience context.Context, consumers int) (*rabbit.QueueDetails, app.Audience, error) {
	for {
		details, err := q.broker.Management.Queue(ctx, q.queue)
		if err != nil {
			return nil, app.Audience{}, err
		}
		a, err := q.broker.Audience(ctx, consumers, &details)
		if err != nil || a.Settled() && details.Messages != nil {
			return &details, a, err
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-patience.Done():
			return &details, a, nil
		}
	}
}

// look says how many events wait, and who consumes them.
func (q *queueExam) look(state rabbit.QueueState, details *rabbit.QueueDetails, a app.Audience) {
	what := "queue " + q.short()
	waiting := fmt.Sprintf("%s events waiting", grouped(int64(state.Ready)))
	if details != nil && details.Unacknowledged != nil && *details.Unacknowledged > 0 {
		waiting += fmt.Sprintf(", %s unacknowledged", grouped(int64(*details.Unacknowledged)))
	}
	if state.Consumers == 0 {
		q.fail(what, errors.New(delivery.Deserted(q.queue, state.Ready, waiting)))
		return
	}
	text := fmt.Sprintf("%s, %s", waiting, a)
	sharing, worry := a.Sharing()
	if sharing != "" {
		text += ": " + sharing
	}
	if worry {
		q.warn(what, text)
	} else {
		q.pass(what, text)
	}
	for _, habit := range a.Habits() {
		q.warn("consumers of "+q.short(), habit)
	}
}

// rules says what the queue's type, arguments and policies do to events.
func (q *queueExam) rules(ctx context.Context, d *rabbit.QueueDetails) {
	what := "rules of " + q.short()
	if err := unusable(d); err != nil {
		q.fail(what, err)
	}
	warnings, remarks := app.Risks(d, q.depth), harmless(d)
	if err := q.deadEnd(ctx, d); err != nil {
		warnings = append(warnings, err.Error())
	}
	retries, err := q.broker.Management.RetryQueues(ctx, q.queue)
	if err != nil {
		warnings = append(warnings, err.Error())
	}
	if len(retries) > 0 {
		remarks = append(remarks, "what the cart rejects comes back to it by way of "+plain.List(retries, 3))
	}
	for _, warning := range warnings {
		q.warn(what, warning)
	}
	for _, remark := range remarks {
		q.pass(what, remark)
	}
}

// deadEnd insists that the exchange for dead letters is there.
func (q *queueExam) deadEnd(ctx context.Context, d *rabbit.QueueDetails) error {
	exchange := d.Rules.DeadLetterExchange()
	if exchange == nil || *exchange == "" {
		return nil
	}
	_, err := q.broker.Management.Exchange(ctx, *exchange)
	if errors.Is(err, rabbit.ErrNotFound) {
		return fmt.Errorf("exchange %s, where dead letters go, does not exist, so they are dropped: declare it", *exchange)
	}
	return err
}

// unusable says why a queue serves no replay at all, nil where it may.
func unusable(d *rabbit.QueueDetails) error {
	quorum := len(d.Members)/2 + 1
	switch {
	case d.Type == "stream":
		return errors.New("it is a stream, which keeps what was consumed, so no replay can be followed: make it a classic or a quorum queue")
	case len(d.Members) > 0 && len(d.Online) < quorum:
		return fmt.Errorf("only %d of its %d members answer (%s), fewer than half, so it takes and gives nothing: start the other nodes", len(d.Online), len(d.Members), plain.List(d.Online, 3))
	case slices.Contains([]string{"crashed", "down", "stopped", "terminated", "leaderless", "minority"}, d.State):
		return fmt.Errorf("its state is %s, so it takes and gives nothing: see the broker's log", d.State)
	}
	return nil
}

// harmless lists the rules that one may want to know.
func harmless(d *rabbit.QueueDetails) []string {
	var all []string
	if d.Type != "" && d.Type != "classic" {
		all = append(all, "it is a "+d.Type+" queue")
	}
	exchange := d.Rules.DeadLetterExchange()
	if d.DeliveryLimit != nil {
		end := "dropped"
		if exchange != nil {
			end = "dead-lettered"
		}
		all = append(all, fmt.Sprintf("an event that came back %d times is %s", *d.DeliveryLimit, end))
	}
	if exchange != nil {
		name := "the default exchange"
		if *exchange != "" {
			name = "exchange " + *exchange
		}
		all = append(all, fmt.Sprintf("what is rejected, expired or dropped goes to %s (%s)", name, d.Rules.By("dead-letter-exchange")))
	}
	return all
}
