package rabbit

import (
	"context"
	"errors"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/testenv"
)

// A dial that hangs is waited for by nobody longer than he said, and costs those
// nothing who only ask or close.
func TestDialThatHangs(t *testing.T) {
	t.Parallel()
	c, proxy := proxied(t, testenv.Vhost(t).URL)
	proxy.Freeze()
	dialled := make(chan error, 1)
	go func() {
		_, err := c.Channel(context.WithoutCancel(t.Context()))
		dialled <- err
	}()
	testenv.Eventually(t, time.Minute, func() bool { return proxy.Accepted() == 1 }, "the dial")

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.Channel(ctx)
	testenv.CheckMessage(t, err, "connect to RabbitMQ at ", "context deadline exceeded")
	if blocked := c.Blocked(); blocked != "" {
		t.Errorf("blocked: %s", blocked)
	}
	c.Drop()
	c.Close()
	select {
	case err := <-dialled:
		t.Errorf("the dial waits for nothing any more: %v", err)
	default:
	}
	proxy.Thaw()
	if err := <-dialled; !errors.Is(err, amqp.ErrClosed) {
		t.Errorf("a connection that was closed meanwhile: %v", err)
	}
	if n := proxy.Accepted(); n != 1 {
		t.Errorf("%d dials", n)
	}
}

// Several who ask at once share one connection.
func TestOneDialForAll(t *testing.T) {
	t.Parallel()
	c, proxy := proxied(t, testenv.Vhost(t).URL)
	const callers = 5
	errs := make(chan error, callers)
	for range callers {
		go func() {
			_, err := c.Channel(t.Context())
			errs <- err
		}()
	}
	for range callers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := proxy.Accepted(); n != 1 {
		t.Errorf("%d connections", n)
	}
}
