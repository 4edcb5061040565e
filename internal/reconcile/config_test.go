package reconcile_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
)

func TestConfigNamesEveryWrongVariable(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*reconcile.Config)
		want   []string
	}{
		{"all right", func(*reconcile.Config) {}, nil},
		{"the bounds", func(c *reconcile.Config) {
			c.BatchSize, c.Settle, c.SettleMax, c.Grace, c.StallTimeout = 1, 0, 0, time.Millisecond, time.Second
			c.MaxRounds, c.Parallel, c.MaxDeletes, c.MaxShrink = 1, 1, 1, 0
		}, nil},
		{"the other bounds", func(c *reconcile.Config) {
			c.BatchSize, c.SettleMax, c.MaxRounds, c.Parallel, c.MaxDeletes, c.MaxShrink = 1000, c.Settle, 100, 16, 1_000_000, 100
		}, nil},
		{"fields in any case", func(c *reconcile.Config) { c.Compare = []string{"TITLE", "sellerid", "quantity"} }, nil},
		{"nothing set", func(c *reconcile.Config) { *c = reconcile.Config{} }, []string{
			"SYNC_BATCH_SIZE: 0 is out of bounds, a batch has 1..1000 products",
			"SYNC_GRACE is 0s, it must be at least 1ms",
			"SYNC_STALL_TIMEOUT is 0s, it must be at least 1s",
			"SYNC_MAX_ROUNDS is 0, it must be 1..100",
			"SYNC_PARALLEL is 0, it must be 1..16",
			"SYNC_MAX_DELETES is 0, it must be 1..1000000",
		}},
		{"too much", func(c *reconcile.Config) {
			c.BatchSize, c.MaxRounds, c.Parallel, c.Settle, c.MaxDeletes, c.MaxShrink = 1001, 101, 17, -time.Second, 1_000_001, 101
		}, []string{
			"SYNC_BATCH_SIZE: 1001 is out of bounds", "SYNC_SETTLE is -1s, it must be at least 0s",
			"SYNC_MAX_ROUNDS is 101", "SYNC_PARALLEL is 17", "SYNC_MAX_DELETES is 1000001", "SYNC_MAX_SHRINK is 101",
		}},
		{"settles that contradict each other", func(c *reconcile.Config) { c.SettleMax = c.Settle - time.Second }, []string{
			"SYNC_SETTLE_MAX is 29s, it must be at least 30s",
		}},
		{"an unknown field", func(c *reconcile.Config) { c.Compare = []string{"title", "colour"} }, []string{
			`SYNC_COMPARE_FIELDS: the cart has no field "colour", it has title, price, image, sellerId and quantity; none compares ids alone`,
		}},
		{"a field that the cart does not keep", func(c *reconcile.Config) { c.Compare = []string{"category"} }, []string{`no field "category"`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			config := newShop(0, none).replay().config
			test.change(&config)
			err := config.Validate()
			if test.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || strings.Count(err.Error(), "\n")+1 != len(test.want) {
				t.Fatalf("got %v, want %d problems", err, len(test.want))
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
		})
	}
}

func TestNewRefusesWhatCannotRun(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*setting)
		want   string
	}{
		{"no repairer", func(s *setting) { s.Replay = nil }, "needs a repairer"},
		{"the repairer of another mode", func(s *setting) { s.options.Mode = run.Direct }, "needs a repairer"},
		{"no batch size", func(s *setting) { s.options.BatchSize = 0 }, "0 is out of bounds"},
		{"too large a batch", func(s *setting) { s.options.BatchSize = 1001 }, "1001 is out of bounds"},
		{"an unknown field", func(s *setting) { s.config.Compare = []string{"colour"} }, "colour"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			set := newShop(0, none).replay()
			test.change(&set)
			if _, err := reconcile.New(set.Parts, set.config, set.options); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	set := newShop(0, none).dryRun()
	set.Replay = nil
	if _, err := reconcile.New(set.Parts, set.config, set.options); err != nil {
		t.Errorf("a dry run without a repairer: %v", err)
	}
}
