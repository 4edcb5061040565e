package app

import (
	"context"
	"time"

	"github.com/ecom-micro/etl/internal/run"
)

// sampleEvery is how often is looked at how the cart stands. The ledger keeps the worst of each
// hour, so it does not matter how many processes look.
const sampleEvery = time.Minute

// sample keeps how the cart stands, for those who want to know since when, until ctx ends.
func (s *Service) sample(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		if err := s.sampleNow(ctx); err != nil && ctx.Err() == nil {
			s.log.Debug("how the cart stands was not kept", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *Service) sampleNow(ctx context.Context) error {
	drift, err := s.ledger.Drift(ctx)
	if err != nil {
		return err
	}
	detection, err := s.ledger.Detection(ctx)
	if err != nil {
		return err
	}
	sample := run.Sample{Differing: drift.ByKind(), Blocked: drift.In(run.Blocked)}
	for _, d := range detection.Detectors {
		if !d.LookedAt.IsZero() {
			sample.Lag = max(sample.Lag, time.Since(d.LookedAt))
		}
	}
	if way := s.probes.Health(ctx).Delivery; way != nil {
		sample.Delivery = way.State
	}
	return s.ledger.Sampled(ctx, sample)
}
