package app

import (
	"cmp"
	"context"
	"time"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/rabbit"
)

// ManagementPatience bounds the first questions to the management API.
const ManagementPatience = 5 * time.Second

// retryQueues asks the management API in which queues events that the cart rejects
// wait for it again, by the cart's queue. It is the first question of a run, so that
// an API that does not answer, or not to this user, is found before it is relied on.
func retryQueues(ctx context.Context, management *rabbit.Management) (map[string][]string, error) {
	if management == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, ManagementPatience)
	defer cancel()
	retries := make(map[string][]string)
	for _, queue := range rabbit.CartQueues() {
		names, err := management.RetryQueues(ctx, queue)
		if err != nil {
			return nil, err
		}
		retries[queue] = names
	}
	return retries, nil
}

// queueView shows a queue to the finding engine. The management API's figures are
// renewed every few seconds only, so they are not asked for at every look. Where they
// cannot be had they are unknown, and the look stands without them.
type queueView struct {
	queue      *rabbit.Queue
	management *rabbit.Management // nil: AMQP alone
	retries    []string           // where rejected messages wait for the queue

	statistics *diff.Statistics
	next       time.Time // when they are asked for again
}

// An API that hangs holds up one look for statisticsTimeout every statisticsPause.
const (
	statisticsInterval = time.Second
	statisticsTimeout  = 2 * time.Second
	statisticsPause    = 5 * time.Second
)

// Depth implements diff.Queue.
func (v *queueView) Depth(ctx context.Context) (diff.Depth, error) {
	state, err := v.queue.State(ctx)
	if err != nil {
		return diff.Depth{}, err
	}
	if asked := time.Now(); v.management != nil && !asked.Before(v.next) {
		v.next = asked.Add(statisticsInterval)
		if v.statistics, err = v.ask(ctx); err != nil {
			v.next = time.Now().Add(statisticsPause)
		}
	}
	return diff.Depth{Ready: state.Ready, Consumers: state.Consumers, Statistics: v.statistics}, nil
}

// ask reads the figures; nil with an error.
func (v *queueView) ask(ctx context.Context) (*diff.Statistics, error) {
	ctx, cancel := context.WithTimeout(ctx, statisticsTimeout)
	defer cancel()
	details, err := v.management.Queue(ctx, v.queue.Name())
	if err != nil {
		return nil, err
	}
	s := &diff.Statistics{Unacknowledged: details.Unacknowledged, Acknowledged: details.Acknowledged,
		Unlimited: details.Unlimited(), Retrying: details.Delayed}
	for _, name := range v.retries {
		elsewhere, err := v.management.Queue(ctx, name)
		if err != nil {
			return nil, err
		}
		s.Retrying = sum(s.Retrying, elsewhere.Messages)
	}
	return s, nil
}

// sum adds two figures, of which one that is not known adds nothing.
func sum(a, b *int) *int {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	total := *a + *b
	return &total
}
