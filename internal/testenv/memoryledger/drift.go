package memoryledger

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// Drift counts what is open by kind and state.
func (l *Ledger) Drift(ctx context.Context) (run.Drift, error) {
	leave, err := l.enter(ctx, "Drift")
	if err != nil {
		return nil, err
	}
	defer leave()
	drift := make(run.Drift)
	for key, d := range l.differences {
		if d.closedBy != "" {
			continue
		}
		if drift[key.Kind] == nil {
			drift[key.Kind] = make(map[run.State]int64)
		}
		drift[key.Kind][d.outcome.State]++
	}
	return drift, nil
}

// Sampled adds what was seen at this moment to the sample of its hour.
func (l *Ledger) Sampled(ctx context.Context, seen run.Sample) error {
	leave, err := l.enter(ctx, "Sampled")
	if err != nil {
		return err
	}
	defer leave()
	hour := l.now().at.Truncate(time.Hour)
	s, known := l.samples[hour]
	if !known {
		s = run.Sample{At: hour.UTC(), Differing: make(map[product.Kind]int64)}
	}
	for _, kind := range product.Kinds() {
		s.Differing[kind] = max(s.Differing[kind], seen.Differing[kind])
	}
	s.Blocked, s.Lag = max(s.Blocked, seen.Blocked), max(s.Lag, seen.Lag)
	if states := run.DeliveryStates(); slices.Index(states, seen.Delivery) > slices.Index(states, s.Delivery) {
		s.Delivery = seen.Delivery
	}
	l.samples[hour] = s
	return nil
}

// Samples returns those of the hours since then, the earliest first.
func (l *Ledger) Samples(ctx context.Context, since time.Time) (samples []run.Sample, err error) {
	leave, err := l.enter(ctx, "Samples")
	if err != nil {
		return nil, err
	}
	defer leave()
	for _, hour := range slices.SortedFunc(maps.Keys(l.samples), time.Time.Compare) {
		if !hour.Before(since) {
			samples = append(samples, l.samples[hour])
		}
	}
	return samples, nil
}
