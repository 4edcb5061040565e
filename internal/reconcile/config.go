package reconcile

import (
	"errors"
	"fmt"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// Config are a run's variables.
type Config struct {
	BatchSize int `env:"SYNC_BATCH_SIZE, default=100"`
	// Settle is how long after its creation or update a product may be on its way to
	// the cart; measured gaps raise it up to SettleMax.
	Settle    time.Duration `env:"SYNC_SETTLE, default=30s"`
	SettleMax time.Duration `env:"SYNC_SETTLE_MAX, default=10m"`
	Grace     time.Duration `env:"SYNC_GRACE, default=2s"`
	// StallTimeout is how long a watermark may stand before what waits for it is given up.
	StallTimeout time.Duration `env:"SYNC_STALL_TIMEOUT, default=10m"`
	// MaxRounds is the largest number of attempts for one product.
	MaxRounds int      `env:"SYNC_MAX_ROUNDS, default=20"`
	Compare   []string `env:"SYNC_COMPARE_FIELDS, default=title,price,image,sellerId"`
	Parallel  int      `env:"SYNC_PARALLEL, default=2"`
	// ScanRate is how many products a second a comparison reads at most, 0 without a limit.
	ScanRate int `env:"SYNC_SCAN_RATE, default=0"`
	// MaxDuration is how long a run may take, 0 without a limit.
	MaxDuration time.Duration `env:"SYNC_MAX_DURATION, default=0s"`
	// MaxDeletes is the largest number of rows that one run deletes.
	MaxDeletes int `env:"SYNC_MAX_DELETES, default=100"`
	// MaxShrink is by how many percent the source may have fewer products than at the
	// last complete comparison for orphaned rows to be deleted.
	MaxShrink int `env:"SYNC_MAX_SHRINK, default=20"`
}

// Validate reports every variable that is wrong.
func (c *Config) Validate() error {
	var problems []error
	if err := run.CheckBatchSize(c.BatchSize); err != nil {
		problems = append(problems, fmt.Errorf("SYNC_BATCH_SIZE: %w", err))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
		least time.Duration
	}{
		{"SYNC_SETTLE", c.Settle, 0}, {"SYNC_SETTLE_MAX", c.SettleMax, c.Settle},
		{"SYNC_GRACE", c.Grace, time.Millisecond}, {"SYNC_STALL_TIMEOUT", c.StallTimeout, time.Second}, {"SYNC_MAX_DURATION", c.MaxDuration, 0},
	} {
		if d.value < d.least {
			problems = append(problems, fmt.Errorf("%s is %s, it must be at least %s", d.name, d.value, d.least))
		}
	}
	for _, n := range []struct {
		name               string
		value, least, most int
	}{
		{"SYNC_MAX_ROUNDS", c.MaxRounds, 1, 100}, {"SYNC_PARALLEL", c.Parallel, 1, 16},
		{"SYNC_MAX_DELETES", c.MaxDeletes, 1, 1_000_000}, {"SYNC_MAX_SHRINK", c.MaxShrink, 0, 100},
		{"SYNC_SCAN_RATE", c.ScanRate, 0, 100_000_000},
	} {
		if n.value < n.least || n.value > n.most {
			problems = append(problems, fmt.Errorf("%s is %d, it must be %d..%d", n.name, n.value, n.least, n.most))
		}
	}
	if _, err := c.Fields(); err != nil {
		problems = append(problems, fmt.Errorf("SYNC_COMPARE_FIELDS: %w", err))
	}
	return errors.Join(problems...)
}

// SettleFor is how long a product may be on its way where that is the longest gap from a
// creation to its event that was measured: SYNC_SETTLE, or twice the gap, at most
// SYNC_SETTLE_MAX.
func (c *Config) SettleFor(gap time.Duration) time.Duration {
	return min(max(c.Settle, 2*gap), max(c.SettleMax, c.Settle))
}

// noFields has ids compared alone.
const noFields = "none"

// Fields are the compared fields; there are none where ids are compared alone.
func (c *Config) Fields() ([]product.Field, error) {
	var fields []product.Field
	if len(c.Compare) == 1 && c.Compare[0] == noFields {
		return fields, nil
	}
	for _, name := range c.Compare {
		f, known := product.FieldNamed(name)
		if !known {
			return nil, fmt.Errorf("the cart has no field %q, it has title, price, image, sellerId and quantity; none compares ids alone", name)
		}
		fields = append(fields, f)
	}
	return fields, nil
}
