package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/ecom-micro/etl/tools/stack"
)

// order is one line of standard input of "stack private".
type order struct {
	// Do is start, to make a server of the kind, or begin, kill, stop, close or control for one that was made.
	Do     string `json:"do"`
	Kind   string `json:"kind"`   // rabbitmq, postgresql, postgresql-next, postgresql-old, standby, pgbouncer
	Dir    string `json:"dir"`    // an existing folder for its data
	Server int    `json:"server"` // which one, as start has answered; for start of a standby, its primary
	// Arguments are those of rabbitmqctl.
	Arguments []string `json:"arguments"`
	// Databases and Settings are lines of PgBouncer's configuration file.
	Databases []string `json:"databases"`
	Settings  []string `json:"settings"`
}

// answer is one line of standard output.
type answer struct {
	Server     int    `json:"server,omitempty"`
	URL        string `json:"url,omitempty"` // host:port of a PgBouncer
	Management string `json:"management,omitempty"`
	Output     string `json:"output,omitempty"` // of rabbitmqctl
	Error      string `json:"error,omitempty"`
	// Unsupported says that no such server can be had beside the servers that are given.
	Unsupported bool `json:"unsupported,omitempty"`
}

// private serves orders, one line of JSON after the other, until in ends; then its servers end.
func private(ctx context.Context, cfg stack.Config, in io.Reader, out io.Writer) (err error) {
	p := privateServers{cfg: cfg}
	defer func() {
		for _, s := range p.servers {
			err = errors.Join(err, s.Close())
		}
	}()
	orders, answers := json.NewDecoder(in), json.NewEncoder(out)
	orders.DisallowUnknownFields()
	for {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read an order: %w", err)
		}
		a, err := p.obey(ctx, o)
		if err != nil {
			a.Error, a.Unsupported = err.Error(), errors.Is(err, stack.ErrUnsupported)
		}
		if err := answers.Encode(a); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
}

// privateServers are those that were made so far, by their number less one.
type privateServers struct {
	cfg     stack.Config
	servers []privateServer
}

// privateServer is any of them.
type privateServer interface {
	Start(ctx context.Context) error
	Kill() error
	Stop() error
	Close() error
}

func (p *privateServers) obey(ctx context.Context, o order) (answer, error) {
	if o.Do == "start" {
		return p.start(ctx, o)
	}
	if o.Server < 1 || o.Server > len(p.servers) {
		return answer{}, fmt.Errorf("there is no server %d", o.Server)
	}
	server := p.servers[o.Server-1]
	switch o.Do {
	case "begin":
		return answer{}, server.Start(ctx)
	case "kill":
		return answer{}, server.Kill()
	case "stop":
		return answer{}, server.Stop()
	case "close":
		return answer{}, server.Close()
	case "control":
		if broker, is := server.(*stack.Broker); is {
			output, err := broker.Control(ctx, o.Arguments...)
			return answer{Output: output}, err
		}
	}
	return answer{}, fmt.Errorf("server %d cannot be told to %q", o.Server, o.Do)
}

func (p *privateServers) start(ctx context.Context, o order) (answer, error) {
	var a answer
	var server privateServer
	postgres := func(s *stack.Postgres, err error) error {
		if err == nil {
			server, a.URL = s, s.URL
		}
		return err
	}
	var err error
	switch cfg := p.cfg; o.Kind {
	case "rabbitmq":
		var broker *stack.Broker
		if broker, err = stack.StartBroker(ctx, cfg, o.Dir); err == nil {
			server, a.URL, a.Management = broker, broker.URL, broker.Management
		}
	case "postgresql":
		err = postgres(stack.StartPostgres(ctx, cfg, o.Dir))
	case "postgresql-next":
		cfg.Profile = stack.ProfileNext
		err = postgres(stack.StartPostgres(ctx, cfg, o.Dir))
	case "postgresql-old":
		err = postgres(stack.StartOldPostgres(ctx, cfg, o.Dir))
	case "standby":
		if o.Server < 1 || o.Server > len(p.servers) {
			return a, fmt.Errorf("there is no server %d", o.Server)
		}
		primary, is := p.servers[o.Server-1].(*stack.Postgres)
		if !is {
			return a, fmt.Errorf("server %d is no PostgreSQL", o.Server)
		}
		err = postgres(stack.StartStandby(ctx, cfg, o.Dir, primary))
	case "pgbouncer":
		var pooler *stack.Pooler
		if pooler, err = stack.StartPooler(ctx, cfg, o.Dir, o.Databases, o.Settings); err == nil {
			server, a.URL = pooler, pooler.Addr
		}
	default:
		return a, fmt.Errorf("there is no private %q", o.Kind)
	}
	if err != nil {
		return answer{}, err
	}
	p.servers = append(p.servers, server)
	a.Server = len(p.servers)
	return a, nil
}
