package producer

import (
	"fmt"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/cart"
	"github.com/ecom-micro/etl/internal/testenv/platform"
	"github.com/ecom-micro/etl/internal/testenv/repairertest"
)

func TestReplayIsARepairer(t *testing.T) {
	t.Parallel()
	repairertest.Suite{Open: func(t *testing.T) repairertest.Fixture {
		r := replaying(t, func(c *Config) { c.ConfirmTimeout, c.MaxQueueDepth = time.Second, 100 })
		db := testenv.Cart(t)
		consumer, err := cart.Start(t.Context(), cart.Config{BrokerURL: r.broker.URL, DatabaseURL: db.URL})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if consumer.Stop(); consumer.Err() != nil {
				t.Errorf("the cart died: %v", consumer.Err())
			}
		})
		return repairertest.Fixture{
			Repairer: r,
			Cart:     repairertest.Database{CartDB: db, Settle: settled(t, r.broker, db, consumer)},
			Patience: func(patience time.Duration) { r.patience = patience },
			Break:    r.publishing.Reset,
			Freeze:   func() (thaw func()) { r.publishing.Freeze(); return r.publishing.Thaw },
		}
	}}.Test(t)
}

// settled waits until the cart has consumed all that is queued by now. Events of no
// consequence, one behind the others in each queue, tell.
func settled(t *testing.T, broker *testenv.Broker, db *testenv.CartDB, consumer *cart.Consumer) func() {
	const there, nowhere = "there", "nowhere"
	rounds := 0
	return func() {
		t.Helper()
		rounds++
		db.Insert(testenv.Row{ID: there}) // or the first event would make it
		broker.Publish(platform.ProductCreated, fmt.Appendf(nil, `{"id":%q}`, there))
		broker.Publish(platform.ProductUpdated, fmt.Appendf(nil, `{"id":%q}`, there))
		broker.Publish(platform.ProductDeleted, fmt.Appendf(nil, `{"id":%q}`, nowhere))
		testenv.Eventually(t, time.Minute, func() bool {
			return consumer.CountsOf(there).Acked() == 2*rounds && consumer.CountsOf(nowhere).Acked() == rounds
		}, "the queues to be consumed")
		db.Exec("DELETE FROM product WHERE id = $1", there)
	}
}
