package reconcile

import (
	"context"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// noLedger is for a run that nobody could go on with.
type noLedger struct{}

func (noLedger) Resume(context.Context) (*run.Checkpoint, error)                { return nil, nil }
func (noLedger) Plan(context.Context, []product.Range) error                    { return nil }
func (noLedger) Known(context.Context, []product.ID) ([]run.Standing, error)    { return nil, nil }
func (noLedger) Judged(context.Context, []product.ID) (map[run.Key]bool, error) { return nil, nil }
func (noLedger) Begin(context.Context, []run.Hand) error                        { return nil }
func (noLedger) Settle(context.Context, run.Settlement) error                   { return nil }
func (noLedger) Open(context.Context, run.Key, int) ([]run.Standing, error)     { return nil, nil }
func (noLedger) TakeDue(context.Context, run.Kinds, int) ([]product.ID, error)  { return nil, nil }
func (noLedger) LastLook(context.Context) (run.Look, error)                     { return run.Look{}, nil }
func (noLedger) Gap(context.Context) (time.Duration, error)                     { return 0, nil }
func (noLedger) Measured(context.Context, time.Duration) error                  { return nil }
