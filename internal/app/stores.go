package app

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/ledger"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/source"
	"github.com/ecom-micro/etl/internal/target"
)

// Stores are the two databases.
type Stores struct {
	config *Config
	source *source.Source
	target *target.Target
}

// connectStores prepares connections to both databases and waits for neither.
func connectStores(ctx context.Context, c *Config, clean *Cleanup) (*Stores, error) {
	src, err := source.Open(c.Source)
	if err != nil {
		return nil, err
	}
	clean.Add("the connections to the product service", src.Close)
	tgt, err := target.Open(ctx, c.Target)
	if err != nil {
		return nil, err
	}
	clean.Add("the connections to the cart's database", Closing(tgt.Close))
	return &Stores{c, src, tgt}, nil
}

// OpenStores connects to both databases, checks that they answer, and reads the
// cart's catalogue.
func OpenStores(ctx context.Context, c *Config, clean *Cleanup) (*Stores, error) {
	both, err := connectStores(ctx, c, clean)
	if err != nil {
		return nil, err
	}
	src, tgt := both.source, both.target
	if _, err := src.Ping(ctx); err != nil {
		return nil, fmt.Errorf("product service: %w", err)
	}
	exists, err := src.Exists(ctx)
	if err != nil {
		return nil, fmt.Errorf("product service: %w", err)
	}
	if !exists {
		return nil, fmt.Errorf("product service: collection %s does not exist: check the database name of PRODUCT_SERVICE_MONGODB_URL and PRODUCT_COLLECTION", src.Name())
	}
	if _, err := tgt.Ping(ctx); err != nil {
		return nil, fmt.Errorf("cart service: %w", err)
	}
	if err := tgt.Describe(ctx); err != nil {
		return nil, err
	}
	return both, nil
}

// Explain is all that the two databases say of a product, by the cart's catalogue as it
// was last read.
func (s *Stores) Explain(ctx context.Context, id product.ID) (*run.Explanation, error) {
	return reconcile.Explain(ctx, s.source, s.target, s.config.Sync, run.Mode(s.config.Tick.Mode), id)
}

// Statistics counts both stores exactly. A broker that is away is told, not an error:
// the databases' figures do not need it.
func (s *Stores) Statistics(ctx context.Context, monitor *rabbit.Connection) (counts api.Statistics, err error) {
	counts = api.Statistics{Source: s.source.Name(), Target: s.target.Name(), Queues: make(map[string]api.QueueStatistics)}
	if counts.Products, err = s.source.Count(ctx); err != nil {
		return counts, err
	}
	if counts.Unsupported, err = s.source.Unsupported(ctx); err != nil {
		return counts, err
	}
	if counts.Rows, err = s.target.Count(ctx); err != nil {
		return counts, err
	}
	if counts.Recent, err = s.source.CountSince(ctx, time.Now().Add(-s.config.Sync.Settle)); err != nil {
		return counts, err
	}
	states, err := monitor.Look(ctx)
	if err != nil {
		counts.Broker = err.Error()
	}
	for name, state := range states {
		counts.Queues[name] = api.QueueStatistics{Ready: state.Ready, Consumers: state.Consumers}
	}
	return counts, nil
}

// storeViews look into the two stores for the API.
type storeViews struct {
	*Stores
	monitor *rabbit.Connection
	mu      sync.Mutex // of the target's catalogue, which each explanation reads anew
}

// Explain is all that is known of a product.
func (v *storeViews) Explain(ctx context.Context, id product.ID) (*run.Explanation, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.target.Describe(ctx); err != nil {
		return nil, err
	}
	return v.Stores.Explain(ctx, id)
}

// Statistics counts both stores exactly.
func (v *storeViews) Statistics(ctx context.Context) (api.Statistics, error) {
	return v.Stores.Statistics(ctx, v.monitor)
}

// ConnectLedger prepares connections to the ledger and does not wait for it.
func ConnectLedger(ctx context.Context, c *Config, clean *Cleanup) (*ledger.Ledger, error) {
	memory, err := ledger.Open(ctx, c.Ledger, c.Target.Address())
	if err != nil {
		return nil, err
	}
	clean.Add("the connections to the ledger", Closing(memory.Close))
	return memory, nil
}

// OpenLedger connects to the ledger and brings its schema up to date.
func OpenLedger(ctx context.Context, c *Config, clean *Cleanup) (*ledger.Ledger, error) {
	memory, err := ConnectLedger(ctx, c, clean)
	if err != nil {
		return nil, err
	}
	if err := memory.Migrate(ctx); err != nil {
		return nil, err
	}
	return memory, nil
}
