package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	amqp "github.com/rabbitmq/amqp091-go"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/ecom-micro/etl/internal/servers"
	"github.com/ecom-micro/etl/internal/testenv/cart"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// The demo's own names on the servers, which may be somebody's.
const (
	productDatabase = "etl_demo_product"
	cartDatabase    = "etl_demo_cart"
	vhost           = "etl-demo"
)

// shop is the demo's e-commerce platform.
type shop struct {
	mongoURL, cartURL, brokerURL *url.URL
	management                   *url.URL
	login                        *url.Userinfo

	catalogue *mongo.Collection
	cart      *pgxpool.Pool
	broker    *amqp.Connection
	assorted  platform.Assortment
	more      []string // variables beside those that every command needs
}

// openShop makes the demo's databases and virtual host afresh.
func openShop(ctx context.Context, services servers.Services) (*shop, error) {
	s := &shop{assorted: platform.Assortment{Seed: 1, N: products + lost}}
	for _, u := range []struct {
		text string
		into **url.URL
	}{{services.MongoDB, &s.mongoURL}, {services.PostgreSQL, &s.cartURL}, {services.RabbitMQ, &s.brokerURL}, {services.Management, &s.management}} {
		parsed, err := url.Parse(u.text)
		if err != nil {
			return nil, errors.New("one of the stack's URLs cannot be read")
		}
		*u.into = parsed
	}
	client, err := mongo.Connect(options.Client().ApplyURI(services.MongoDB))
	if err != nil {
		return nil, err
	}
	s.catalogue = client.Database(productDatabase).Collection(platform.ProductCollection)
	if err := s.catalogue.Database().Drop(ctx); err != nil {
		return nil, fmt.Errorf("drop the last demo's products: %w", err)
	}
	if err := s.makeCart(ctx, services.PostgreSQL); err != nil {
		return nil, err
	}
	if err := s.makeVhost(ctx); err != nil {
		return nil, err
	}
	s.brokerURL.Path = "/" + vhost
	s.broker, err = amqp.DialConfig(s.brokerURL.String(), amqp.Config{Properties: amqp.Table{"connection_name": "product service (stand-in)"}})
	return s, err
}

func (s *shop) makeCart(ctx context.Context, serverURL string) error {
	server, err := pgx.Connect(ctx, serverURL)
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer func() { _ = server.Close(context.WithoutCancel(ctx)) }()
	for _, statement := range []string{"DROP DATABASE IF EXISTS " + cartDatabase + " WITH (FORCE)", "CREATE DATABASE " + cartDatabase} {
		if _, err := server.Exec(ctx, statement); err != nil {
			return fmt.Errorf("make the cart's database: %w", err)
		}
	}
	s.cartURL.Path = "/" + cartDatabase
	if s.cart, err = pgxpool.New(ctx, s.cartURL.String()); err != nil {
		return err
	}
	return platform.CreateCartTables(ctx, s.cart)
}

func (s *shop) makeVhost(ctx context.Context) error {
	s.login = s.management.User
	user := s.login.Username()
	type call struct {
		method, path string
		body         any
	}
	for _, c := range []call{
		{http.MethodDelete, "vhosts/" + vhost, nil},
		{http.MethodPut, "vhosts/" + vhost, map[string]string{"description": "etl demo", "default_queue_type": servers.QueueType()}},
		{http.MethodPut, "permissions/" + vhost + "/" + url.PathEscape(user), map[string]string{"configure": ".*", "write": ".*", "read": ".*"}},
	} {
		body, err := json.Marshal(c.body)
		if err != nil {
			return err
		}
		request, err := http.NewRequestWithContext(ctx, c.method, s.management.JoinPath("api", c.path).String(), bytes.NewReader(body))
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return fmt.Errorf("make the virtual host %s: %w", vhost, err)
		}
		_ = response.Body.Close()
		if response.StatusCode >= 300 && response.StatusCode != http.StatusNotFound {
			return fmt.Errorf("make the virtual host %s: the management API answered %s", vhost, response.Status)
		}
	}
	return nil
}

func (s *shop) close() {
	ctx := context.Background()
	_ = s.broker.Close()
	s.cart.Close()
	_ = s.catalogue.Database().Client().Disconnect(ctx)
}

// seed fills the catalogue, and the cart but for the live and the lost products.
func (s *shop) seed(ctx context.Context) error {
	if err := platform.InsertProducts(ctx, s.catalogue, s.assorted.Where(func(i int) bool { return i < products })); err != nil {
		return err
	}
	return platform.CopyProducts(ctx, s.cart, s.assorted.Where(func(i int) bool { return i < products-live-lost }))
}

func (s *shop) insertMore(ctx context.Context) error {
	return platform.InsertProducts(ctx, s.catalogue, s.assorted.Where(func(i int) bool { return i >= products }))
}

// startCart starts the cart's consumer.
func (s *shop) startCart(ctx context.Context) (*cart.Consumer, error) {
	return cart.Start(ctx, cart.Config{BrokerURL: s.brokerURL.String(), DatabaseURL: s.cartURL.String()})
}

// publish announces n products from the first on, as the Product Service does:
// persistent, and content with the broker's confirm.
func (s *shop) publish(ctx context.Context, first, n int) error {
	ch, err := s.broker.Channel()
	if err != nil {
		return err
	}
	defer func() { _ = ch.Close() }()
	if err := ch.Confirm(false); err != nil {
		return err
	}
	var last *amqp.DeferredConfirmation
	for i := first; i < first+n; i++ {
		last, err = ch.PublishWithDeferredConfirm(platform.Exchange, platform.ProductCreated, false, false,
			amqp.Publishing{DeliveryMode: amqp.Persistent, Body: s.assorted.Product(i).Event()})
		if err != nil {
			return fmt.Errorf("publish an event: %w", err)
		}
	}
	if confirmed, err := last.WaitContext(ctx); err != nil || !confirmed {
		return fmt.Errorf("the broker did not confirm the events: %w", err)
	}
	return nil
}

func (s *shop) unbind(queue string) error {
	ch, err := s.broker.Channel()
	if err != nil {
		return err
	}
	defer func() { _ = ch.Close() }()
	return ch.QueueUnbind(queue, queue, platform.Exchange, nil)
}

func (s *shop) rows(ctx context.Context) (n int) {
	if err := s.cart.QueryRow(ctx, "SELECT count(*) FROM product").Scan(&n); err != nil {
		return -1
	}
	return n
}

// waitForRows waits until the cart has consumed what it was sent.
func (s *shop) waitForRows(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for s.rows(ctx) != n {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the cart has %d rows, not %d: %w", s.rows(context.WithoutCancel(ctx)), n, ctx.Err())
		}
	}
	return nil
}

// ui is where to look at a page of the management UI, with the login.
func (s *shop) ui(page string) string {
	address := *s.management
	address.User = nil
	password, _ := s.login.Password()
	return fmt.Sprintf("%s/#/%s  (user %s, password %s)", strings.TrimSuffix(address.String(), "/"), page, s.login.Username(), password)
}

// variables are the service's, for the demo's databases and virtual host.
func (s *shop) variables() []string {
	source := *s.mongoURL
	source.User, source.Path = nil, "/"+productDatabase
	query := source.Query()
	query.Set("authSource", "admin")
	source.RawQuery = query.Encode()
	password, _ := s.mongoURL.User.Password()
	return append([]string{
		"PRODUCT_SERVICE_MONGODB_URL=" + source.String(),
		"MONGO_USER=" + s.mongoURL.User.Username(),
		"MONGO_PASSWORD=" + password,
		"CART_DB_URL=" + s.cartURL.String(),
		"RABBITMQ_ENDPOINT=" + s.brokerURL.String(),
	}, s.more...)
}
