package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/sethvargo/go-envconfig"
)

// configured is the configuration of a service that finds none of its servers.
func configured(t *testing.T) *Config {
	t.Helper()
	c := &Config{}
	if err := envconfig.ProcessWith(t.Context(), &envconfig.Config{Target: c, Lookuper: envconfig.MapLookuper(map[string]string{
		"PRODUCT_SERVICE_MONGODB_URL": "mongodb://127.0.0.1:1/product", "CART_DB_URL": "postgresql://postgres@127.0.0.1:1/cart",
		"RABBITMQ_ENDPOINT": "amqp://127.0.0.1:1", "JWT_KEY": "kV3!the tests sign with this, and nobody else",
	})}); err != nil {
		t.Fatal(err)
	}
	c.API.Host, c.API.Port = "127.0.0.1", 0
	return c
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// A service listens as soon as it is made, lives without any server, and ends by Stop as
// it does by its context.
func TestServiceRunAndStop(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(context.CancelFunc, *Service) error{
		"by its context": func(cancel context.CancelFunc, _ *Service) error { cancel(); return nil },
		"by Stop":        func(_ context.CancelFunc, s *Service) error { return s.Stop(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := New(t.Context(), configured(t), About{Version: "test"}, quiet())
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error)
			go func() { ended <- s.Run(ctx) }()
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			answer, err := client.Get("http://" + s.Address() + "/api/etl/live")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				t.Errorf("live: %s", answer.Status)
			}
			stopped := make(chan error)
			go func() { stopped <- stop(cancel, s) }()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if err := <-stopped; err != nil {
				t.Error(err)
			}
			for range 2 {
				if err := s.Stop(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if err := s.Run(ctx); !errors.Is(err, errStopped) {
				t.Errorf("after Stop: %v", err)
			}
		})
	}
}

// What cannot be made leaves nothing open, the goroutines of connections among it.
func TestServiceThatCannotBeMade(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	c := configured(t)
	c.API.Port = taken.Addr().(*net.TCPAddr).Port
	if _, err := New(t.Context(), c, About{}, quiet()); err == nil || !strings.Contains(err.Error(), "listen on PORT "+strconv.Itoa(c.API.Port)) || strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
}
