package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/sethvargo/go-envconfig"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/consumer"
	"github.com/ecom-micro/etl/internal/ledger"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/schedule"
	"github.com/ecom-micro/etl/internal/source"
	"github.com/ecom-micro/etl/internal/target"
	"github.com/ecom-micro/etl/producer"
)

// config is the configuration of all rooms. Each room checks its own part.
type config struct {
	Source   source.Config
	Target   target.Config
	Rabbit   rabbit.Config
	Replay   producer.Config
	Sync     reconcile.Config
	Ledger   ledger.Config
	Worker   consumer.Config
	Schedule schedule.Config
	Tick     tickConfig
	API      api.Config
	Service  serviceConfig
}

// section is a room's part of the configuration.
type section interface{ Validate() error }

func (c *config) sections() []section {
	return []section{&c.Source, &c.Target, &c.Rabbit, &c.Replay, &c.Sync, &c.Ledger, &c.Worker, &c.Schedule, &c.Tick, &c.API, &c.Service}
}

// load reads the environment and checks the sections that a command uses, all
// problems at once. Variables of other sections may be missing or wrong.
func load(ctx context.Context, env envconfig.Lookuper, use func(*config) []section) (*config, error) {
	c := &config{}
	used := make(map[section]bool)
	for _, s := range use(c) {
		used[s] = true
	}
	var problems []error
	for _, s := range c.sections() {
		err := envconfig.ProcessWith(ctx, &envconfig.Config{Target: s, Lookuper: trimmed{env}})
		if err != nil {
			err = unreadable(s, err)
		} else {
			err = s.Validate()
		}
		if used[s] && err != nil {
			problems = append(problems, err)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, usageError{fmt.Errorf("configuration: %s", strings.ReplaceAll(err.Error(), "\n", "\n                    "))}
	}
	return c, nil
}

// unreadable names the variable where envconfig names the struct's field.
func unreadable(s section, err error) error {
	name, reason, _ := strings.Cut(err.Error(), ": ")
	if f, found := reflect.TypeOf(s).Elem().FieldByName(name); found {
		variable, _, _ := strings.Cut(f.Tag.Get("env"), ",")
		return fmt.Errorf("%s cannot be read as %s: %s", variable, f.Type, reason)
	}
	return err
}

// trimmed takes a variable that is set and empty, as Kubernetes and Compose
// leave them, for one that is not set, and drops the newline of a file's content.
type trimmed struct{ envconfig.Lookuper }

func (t trimmed) Lookup(key string) (string, bool) {
	value, found := t.Lookuper.Lookup(key)
	value = strings.TrimSpace(value)
	return value, found && value != ""
}
