package testenv_test

import (
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

func TestPrivateBrokerKeepsMessagesWhenKilled(t *testing.T) {
	t.Parallel()
	server, broker := testenv.PrivateBroker(t)
	broker.DeclareTopology()
	broker.Publish(platform.ProductCreated, []byte("kept"))
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, time.Minute, func() bool {
		return broker.QueueStats(platform.ProductCreated).Ready == 1
	}, "the message to be there again")
}

func TestPrivatePostgreSQL(t *testing.T) {
	t.Parallel()
	server := testenv.PrivatePostgreSQL(t)
	cart := testenv.Cart(t, testenv.OnPostgreSQL(server.URL))
	cart.Insert(testenv.Row{ID: "one"})
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, time.Minute, func() bool {
		var one int
		return cart.Pool.QueryRow(t.Context(), "SELECT 1").Scan(&one) == nil
	}, "the cart to be reached again")
}
