package main

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/sethvargo/go-envconfig"

	"github.com/ecom-micro/etl/internal/run"
)

// The roles of a process of the service.
const (
	roleAPI       = "api"
	roleWorker    = "worker"
	roleScheduler = "scheduler"
)

// serviceConfig says how `etl serve` runs.
type serviceConfig struct {
	Roles []string `env:"ETL_ROLES, default=api,worker,scheduler"`
	// Drain is how long the service takes at most to end what it has in hand.
	Drain       time.Duration `env:"ETL_DRAIN_TIMEOUT, default=30s"`
	Environment string        `env:"NODE_ENV, default=development"`
}

// Validate reports what is wrong with the variables.
func (c *serviceConfig) Validate() error {
	var problems []error
	if len(c.Roles) == 0 {
		problems = append(problems, errors.New("ETL_ROLES is empty: it lists api, worker and scheduler, or some of them"))
	}
	for i, role := range c.Roles {
		c.Roles[i] = strings.TrimSpace(role)
		if !slices.Contains([]string{roleAPI, roleWorker, roleScheduler}, c.Roles[i]) {
			problems = append(problems, fmt.Errorf("ETL_ROLES: there is no role %q, there are api, worker and scheduler", c.Roles[i]))
		}
	}
	if c.Drain < time.Second || c.Drain > time.Hour {
		problems = append(problems, fmt.Errorf("ETL_DRAIN_TIMEOUT is %s, it must be 1s..1h", c.Drain))
	}
	return errors.Join(problems...)
}

func (c *serviceConfig) has(role string) bool { return slices.Contains(c.Roles, role) }

// tickConfig says what a scheduled run does.
type tickConfig struct {
	Mode     string   `env:"SYNC_MODE, default=replay"`
	Repair   []string `env:"SYNC_REPAIR, default=missing"`
	Fallback string   `env:"SYNC_FALLBACK, default=none"`
}

// order is what a tick asks for.
func (c *tickConfig) order() run.Order {
	kinds, _ := run.ParseKinds(c.Repair) // Validate says what is wrong
	return run.Order{Mode: run.Mode(c.Mode), Repair: kinds, Fallback: run.Fallback(c.Fallback)}
}

// Validate reports what is wrong with the variables.
func (c *tickConfig) Validate() error {
	var problems []error
	if _, err := run.ParseKinds(c.Repair); err != nil {
		problems = append(problems, fmt.Errorf("SYNC_REPAIR %w", err))
	}
	order := c.order()
	var invalid *run.InvalidError
	if !errors.As(order.Check(), &invalid) {
		return errors.Join(problems...)
	}
	for _, f := range invalid.Fields {
		problems = append(problems, fmt.Errorf("SYNC_%s %s", strings.ToUpper(f.Field), f.Message))
	}
	return errors.Join(problems...)
}

// setting is one variable as it takes effect.
type setting struct {
	Name    string `json:"name"`
	Value   string `json:"value"` // secrets masked
	Default bool   `json:"default"`
}

// settings lists all variables in the order of the sections.
func (c *config) settings(env envconfig.Lookuper) []setting {
	var all []setting
	for _, s := range c.sections() {
		fields := reflect.ValueOf(s).Elem()
		for i, v := range variablesOf(s, env) {
			shown := fmt.Sprint(fields.Field(i).Interface())
			if list, is := fields.Field(i).Interface().([]string); is {
				shown = strings.Join(list, ",")
			}
			all = append(all, setting{v.name, shown, v.value == ""})
		}
	}
	return all
}

// unknownVariables lists the variables of the environment that look like ours and
// that nothing reads: misspelt ones, most likely.
func unknownVariables(env envconfig.Lookuper) []string {
	known := map[string]bool{}
	for _, s := range (&config{}).settings(env) {
		known[s.Name] = true
	}
	var unknown []string
	for _, name := range variableNames(env) {
		if (strings.HasPrefix(name, "ETL_") || strings.HasPrefix(name, "SYNC_")) && !known[name] {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return unknown
}

// environment is where variables come from, with their names.
type environment struct {
	envconfig.Lookuper
	names func() []string
}

func processEnvironment() environment {
	return environment{envconfig.OsLookuper(), func() []string {
		var names []string
		for _, entry := range os.Environ() {
			name, _, _ := strings.Cut(entry, "=")
			names = append(names, name)
		}
		return names
	}}
}

// variableNames lists the names that an environment has, as far as it tells them.
func variableNames(env envconfig.Lookuper) []string {
	if e, is := env.(environment); is {
		return e.names()
	}
	return nil
}
