package app

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

// newCleanup is one that ends with the test.
func newCleanup(t *testing.T) *Cleanup {
	t.Helper()
	clean := &Cleanup{}
	t.Cleanup(func() {
		if err := clean.End(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return clean
}

// A broker that has no room for a run's connections is one that is away: a run waits for
// what may pass.
func TestCaseC11ARunWaitsForABrokerAtItsLimit(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	broker.DeclareTopology()
	testenv.Dial(t, broker.URL)
	broker.Manage(http.MethodPut, "/api/vhost-limits/"+broker.Vhost+"/max-connections", map[string]int{"value": 1}, nil)
	_, err := openBroker(t.Context(), &Config{Rabbit: rabbit.Config{URL: secret.URL(broker.URL)}}, newCleanup(t))
	var away *product.AwayError
	if !errors.As(err, &away) || away.Server != "RabbitMQ" {
		t.Errorf("a run does not wait for it: %v", err)
	}
}
