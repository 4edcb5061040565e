package rabbit

import (
	"context"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/testenv"
)

func TestCheckWritePublishesNothing(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	broker.DeclareTopology()
	// Whatever is published with the check's routing key would be seen here.
	broker.Do(func(ch *amqp.Channel) error {
		if _, err := ch.QueueDeclare("etl.check", true, false, false, false, nil); err != nil {
			return err
		}
		return ch.QueueBind("etl.check", "etl.check", Exchange, false, nil)
	})
	c := connect(t, broker.URL)
	for _, exchange := range []string{"", Exchange} {
		for range 3 {
			if err := c.CheckWrite(t.Context(), exchange); err != nil {
				t.Errorf("exchange %q: %v", exchange, err)
			}
		}
	}
	testenv.CheckMessage(t, c.CheckWrite(t.Context(), "absent"), "publish to exchange absent: it does not exist", "NOT_FOUND")
	if n := broker.QueueStats("etl.check").Ready; n != 0 {
		t.Errorf("%d messages were published", n)
	}
}

func TestCheckWriteOfABrokerThatFellSilent(t *testing.T) {
	t.Parallel()
	c, proxy := proxied(t, testenv.Vhost(t).URL)
	if err := c.CheckWrite(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	proxy.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	testenv.CheckMessage(t, c.CheckWrite(ctx, ""), "context deadline exceeded")
	proxy.Cut()
	testenv.Eventually(t, time.Minute, func() bool { conn, _ := c.live(); return conn == nil }, "the connection to end")
	testenv.CheckMessage(t, c.CheckWrite(t.Context(), ""), "no broker answers")
}
