package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sethvargo/go-envconfig"

	"github.com/ecom-micro/etl/internal/app"
)

// config is the configuration of all rooms, as the environment gives it.
type config struct{ app.Config }

// section is a room's part of the configuration.
type section interface{ Validate() error }

func (c *config) sections() []section {
	return []section{&c.Source, &c.Target, &c.Rabbit, &c.Replay, &c.Sync, &c.Ledger, &c.Worker, &c.Schedule, &c.Tick, &c.Detect, &c.Notify, &c.API, &c.Service}
}

// load reads the environment and checks the sections that a command uses, all
// problems at once. Variables of other sections may be missing or wrong.
func load(ctx context.Context, env envconfig.Lookuper, use func(*config) []section) (*config, error) {
	c := &config{}
	used := make(map[section]bool)
	for _, s := range use(c) {
		used[s] = true
	}
	var problems, quotes []error
	for _, s := range c.sections() {
		err := fill(ctx, s, env)
		if !used[s] {
			continue
		}
		if err != nil {
			problems = append(problems, err)
		}
		quotes = append(quotes, inQuotes(s, env)...)
	}
	if err := errors.Join(append(quotes, problems...)...); err != nil {
		return nil, usageError{fmt.Errorf("configuration: %s", strings.ReplaceAll(err.Error(), "\n", "\n                    "))}
	}
	return c, nil
}

// fill reads the variables of a section and checks them. One that cannot be read has its
// default while the others are checked.
func fill(ctx context.Context, s section, env envconfig.Lookuper) error {
	given := variablesOf(s, env)
	var problems []error
	for {
		err := envconfig.ProcessWith(ctx, &envconfig.Config{Target: s, Lookuper: given})
		if err == nil {
			return errors.Join(append(problems, s.Validate())...)
		}
		field, _, _ := strings.Cut(err.Error(), ": ")
		v := given.byField(field)
		if v == nil {
			return errors.Join(append(problems, err)...)
		}
		problems = append(problems, fmt.Errorf("%s is %s, it must be %s", v.name, quoted(v.value), v.form()))
		v.value = ""
	}
}
