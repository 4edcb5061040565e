package servers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
)

// ErrUnsupported says that no such server can be started: the servers are given by URL, or
// come from a Docker engine that has no image for it.
var ErrUnsupported = errors.New("no private server can be started beside the servers that are given")

// Server is a private server that a test may kill and start again, on the same ports and
// data. It ends with this process, even a killed one. Its methods may be called from several
// goroutines.
type Server struct {
	starter *starter
	number  int
	owner   bool // of the starter, which ends with the server
	closed  atomic.Bool
}

// Kill ends the server and all its child processes with SIGKILL, and returns when they are
// gone. Killing a server that does not run is no error.
func (s *Server) Kill() error { return s.tell("kill") }

// Start starts a server that was killed or stopped, and returns when it answers. A server
// that runs is left alone.
func (s *Server) Start() error { return s.tell("begin") }

// Stop ends the server as in a planned restart: it says goodbye to its clients. Start starts
// it again.
func (s *Server) Stop() error { return s.tell("stop") }

// Close ends the server for good. Closing it again is no error.
func (s *Server) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	err := s.tell("close")
	if s.owner {
		err = errors.Join(err, s.starter.end())
	}
	return err
}

func (s *Server) tell(what string) error {
	_, err := s.starter.order(order{Do: what, Server: s.number})
	return err
}

// Broker is a private RabbitMQ node.
type Broker struct {
	*Server
	URL, Management string // as those of Services
}

// Control runs rabbitmqctl on the node and returns what it printed.
func (b *Broker) Control(arguments ...string) (string, error) {
	a, err := b.starter.order(order{Do: "control", Server: b.number, Arguments: arguments})
	return a.Output, err
}

// Postgres is a private PostgreSQL server, with the set-up of the cart's.
type Postgres struct {
	*Server
	URL string // as Services.PostgreSQL
}

// Pooler is a private PgBouncer.
type Pooler struct {
	*Server
	Addr string // host:port where it listens
}

// Version is a PostgreSQL that a test may have for itself.
type Version string

// The versions of PostgreSQL: the stack's own, the newest, and the oldest that is supported.
const (
	OfTheStack Version = "postgresql"
	Newest     Version = "postgresql-next"
	Oldest     Version = "postgresql-old"
)

// StartBroker starts a RabbitMQ node with its data below dir. Close it at the end. The error
// is ErrUnsupported where none can be had.
func StartBroker(dir string) (*Broker, error) {
	server, a, err := start(order{Kind: "rabbitmq", Dir: dir})
	return &Broker{server, a.URL, a.Management}, err
}

// StartPostgres starts a PostgreSQL server with its data below dir, as StartBroker does.
func StartPostgres(dir string, version Version) (*Postgres, error) {
	server, a, err := start(order{Kind: string(version), Dir: dir})
	return &Postgres{server, a.URL}, err
}

// StartStandby starts a standby of a private server, which follows it until it is promoted.
func StartStandby(dir string, primary *Postgres) (*Postgres, error) {
	a, err := primary.starter.order(order{Do: "start", Kind: "standby", Dir: dir, Server: primary.number})
	return &Postgres{&Server{starter: primary.starter, number: a.Server}, a.URL}, err
}

// StartPooler starts a PgBouncer. databases and settings are lines of the two sections of its
// configuration file.
func StartPooler(dir string, databases, settings []string) (*Pooler, error) {
	server, a, err := start(order{Kind: "pgbouncer", Dir: dir, Databases: databases, Settings: settings})
	return &Pooler{server, a.URL}, err
}

// order and answer are those of `stack private`.
type order struct {
	Do        string   `json:"do"`
	Kind      string   `json:"kind,omitempty"`
	Dir       string   `json:"dir,omitempty"`
	Server    int      `json:"server,omitempty"`
	Arguments []string `json:"arguments,omitempty"`
	Databases []string `json:"databases,omitempty"`
	Settings  []string `json:"settings,omitempty"`
}

type answer struct {
	Server      int    `json:"server"`
	URL         string `json:"url"`
	Management  string `json:"management"`
	Output      string `json:"output"`
	Error       string `json:"error"`
	Unsupported bool   `json:"unsupported"`
}

// start makes a server, with a starter of its own: servers do not wait for each other.
func start(o order) (*Server, answer, error) {
	s, err := newStarter()
	if err != nil {
		return nil, answer{}, err
	}
	o.Do = "start"
	a, err := s.order(o)
	if err != nil {
		return nil, a, errors.Join(err, s.end())
	}
	return &Server{starter: s, number: a.Server, owner: true}, a, nil
}

// starter is a process that starts servers, and ends them when its standard input ends.
type starter struct {
	mu      sync.Mutex
	command *exec.Cmd
	input   io.WriteCloser
	orders  *json.Encoder
	answers *json.Decoder
}

func newStarter() (*starter, error) {
	command, err := stackCommand(context.Background(), "private") // which ends with its input
	if err != nil {
		return nil, err
	}
	command.Stderr = os.Stderr
	input, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start the stack's program: %w", err)
	}
	return &starter{command: command, input: input, orders: json.NewEncoder(input), answers: json.NewDecoder(output)}, nil
}

func (s *starter) order(o order) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var a answer
	if err := s.orders.Encode(o); err != nil {
		return a, fmt.Errorf("tell the stack's program to %s: %w", o.Do, err)
	}
	if err := s.answers.Decode(&a); err != nil {
		return a, fmt.Errorf("the stack's program does not answer to %s: %w", o.Do, err)
	}
	switch {
	case a.Unsupported:
		return a, fmt.Errorf("%w (%s)", ErrUnsupported, a.Error)
	case a.Error != "":
		return a, errors.New(a.Error)
	}
	return a, nil
}

func (s *starter) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.input.Close()
	return errors.Join(err, s.command.Wait())
}
