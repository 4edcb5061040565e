package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/consumer"
	"github.com/ecom-micro/etl/internal/detect"
	"github.com/ecom-micro/etl/internal/ledger"
	"github.com/ecom-micro/etl/internal/notify"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/schedule"
	"github.com/ecom-micro/etl/internal/source"
	"github.com/ecom-micro/etl/internal/target"
	"github.com/ecom-micro/etl/producer"
)

// Config is the configuration of all rooms. Each room checks its own part, and whoever
// fills it checks those that are used.
type Config struct {
	Source   source.Config
	Target   target.Config
	Rabbit   rabbit.Config
	Replay   producer.Config
	Sync     reconcile.Config
	Ledger   ledger.Config
	Worker   consumer.Config
	Schedule schedule.Config
	Tick     TickConfig
	Detect   detect.Config
	Notify   notify.Config
	API      api.Config
	Service  ServiceConfig
}

// The roles of a process of the service.
const (
	roleAPI       = "api"
	roleWorker    = "worker"
	roleScheduler = "scheduler"
	roleTap       = "tap"
)

func roles() []string { return []string{roleAPI, roleWorker, roleScheduler, roleTap} }

// ServiceConfig says how `etl serve` runs.
type ServiceConfig struct {
	Roles []string `env:"ETL_ROLES, default=api,worker,scheduler,tap"`
	// LameDuck is how long the service goes on serving after SIGTERM, not ready: balancers
	// learn that it goes before it refuses their requests.
	LameDuck time.Duration `env:"ETL_LAME_DUCK, default=5s"`
	// Drain is how long the service takes at most to end what it has in hand.
	Drain       time.Duration `env:"ETL_DRAIN_TIMEOUT, default=30s"`
	Environment string        `env:"NODE_ENV, default=development"`
}

// Validate reports what is wrong with the variables.
func (c *ServiceConfig) Validate() error {
	var problems []error
	if len(c.Roles) == 0 {
		problems = append(problems, errors.New("ETL_ROLES is empty: it lists api, worker, scheduler and tap, or some of them"))
	}
	for i, role := range c.Roles {
		c.Roles[i] = strings.TrimSpace(role)
		if !slices.Contains(roles(), c.Roles[i]) {
			problems = append(problems, fmt.Errorf("ETL_ROLES: there is no role %q, there are api, worker, scheduler and tap", c.Roles[i]))
		}
	}
	if c.Drain < time.Second || c.Drain > time.Hour {
		problems = append(problems, fmt.Errorf("ETL_DRAIN_TIMEOUT is %s, it must be 1s..1h", c.Drain))
	}
	if c.LameDuck < 0 || c.LameDuck > 5*time.Minute {
		problems = append(problems, fmt.Errorf("ETL_LAME_DUCK is %s, it must be 0s..5m", c.LameDuck))
	}
	return errors.Join(problems...)
}

func (c *ServiceConfig) has(role string) bool { return slices.Contains(c.Roles, role) }

// TickConfig says what a scheduled run does.
type TickConfig struct {
	Mode     string   `env:"SYNC_MODE, default=replay"`
	Repair   []string `env:"SYNC_REPAIR, default=missing"`
	Fallback string   `env:"SYNC_FALLBACK, default=none"`
	// FullEvery is how old the last complete comparison may be for a tick to look at what is
	// open in the ledger only; 0 makes each tick a complete one.
	FullEvery time.Duration `env:"SYNC_FULL_EVERY, default=0s"`
}

// maxFullEvery is how rare complete comparisons may be: they find what no detector can.
const maxFullEvery = 7 * 24 * time.Hour

// Order is what a tick asks for.
func (c *TickConfig) Order() run.Order {
	kinds, _ := run.ParseKinds(c.Repair) // Validate says what is wrong
	return run.Order{Mode: run.Mode(c.Mode), Repair: kinds, Fallback: run.Fallback(c.Fallback)}
}

// Validate reports what is wrong with the variables.
func (c *TickConfig) Validate() error {
	var problems []error
	if _, err := run.ParseKinds(c.Repair); err != nil {
		problems = append(problems, fmt.Errorf("SYNC_REPAIR %w", err))
	}
	if c.FullEvery < 0 || c.FullEvery > maxFullEvery {
		problems = append(problems, fmt.Errorf("SYNC_FULL_EVERY is %s, it must be 0s..%s", c.FullEvery, maxFullEvery))
	}
	order := c.Order()
	var invalid *run.InvalidError
	if !errors.As(order.Check(), &invalid) {
		return errors.Join(problems...)
	}
	for _, f := range invalid.Fields {
		problems = append(problems, fmt.Errorf("SYNC_%s %s", strings.ToUpper(f.Field), f.Message))
	}
	return errors.Join(problems...)
}
