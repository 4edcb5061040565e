package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// pingMongoDB logs in to a MongoDB-protocol server and sends a ping, the smallest proof that it serves authenticated
// requests. address is a URL with the login.
func pingMongoDB(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	client, err := mongo.Connect(options.Client().ApplyURI(address).SetDirect(true).SetServerSelectionTimeout(answerTimeout))
	if err != nil {
		return fmt.Errorf("log in to MongoDB: %w", err)
	}
	defer func() { _ = client.Disconnect(context.WithoutCancel(ctx)) }()
	if err := client.Ping(ctx, nil); err != nil {
		return fmt.Errorf("ping MongoDB: %w", err)
	}
	return nil
}

// greetAMQP logs in to RabbitMQ. address is a URL with the login.
func greetAMQP(ctx context.Context, address string) error {
	conn, err := amqp.DialConfig(address, amqp.Config{Dial: func(network, host string) (net.Conn, error) { return dial(ctx, host) }})
	if err != nil {
		return fmt.Errorf("greet the AMQP server: %w", err)
	}
	return conn.Close()
}

// answerTimeout is how long one request of a readiness check may take.
const answerTimeout = 5 * time.Second

// dial connects to address; the connection's deadline is answerTimeout from now, or ctx's if that is earlier.
func dial(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// queryManagement asks the management API, whose URL carries the login, for its overview.
func queryManagement(ctx context.Context, base string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+"/api/overview", nil)
	if err != nil {
		return fmt.Errorf("query RabbitMQ's management API: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("query RabbitMQ's management API: %w", err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("query RabbitMQ's management API: it answers %s", response.Status)
	}
	return nil
}

// defaultPorts are the ports of URLs that name none.
var defaultPorts = map[string]string{
	"mongodb": "27017", "postgres": "5432", "postgresql": "5432", "amqp": "5672", "amqps": "5671", "http": "80", "https": "443",
}

// reach checks that something accepts connections at the first host of a URL. A mongodb+srv URL names no host, so
// it is taken as it is.
func reach(ctx context.Context, address string) error {
	scheme, rest, found := strings.Cut(address, "://")
	if !found {
		return errors.New("it is not a URL") // not shown: it may be a mistyped one with a password in it
	}
	if scheme == "mongodb+srv" {
		return nil
	}
	// The form for a replica set, host:port,host:port, is no valid URL; its first host alone makes one.
	authority, _, _ := strings.Cut(rest, "/")
	authority, _, _ = strings.Cut(authority, "?")
	hosts := authority[strings.LastIndexByte(authority, '@')+1:]
	first, _, _ := strings.Cut(hosts, ",")
	u, err := url.Parse(scheme + "://" + first)
	if err != nil {
		return err
	}
	port := u.Port()
	if port == "" {
		port = defaultPorts[scheme]
	}
	conn, err := dial(ctx, net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return err
	}
	return conn.Close()
}
