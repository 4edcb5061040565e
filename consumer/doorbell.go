package consumer

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/run"
)

// MaxBody is how long a sync request may be as a message, in bytes. What is longer
// is dead-lettered unread.
const MaxBody = 1 << 20

// Doorbell publishes sync requests. It is for concurrent use.
type Doorbell struct{ publisher *publisher }

// NewDoorbell makes a doorbell, which opens a channel on conn when it first rings.
func NewDoorbell(conn *rabbit.Connection) *Doorbell {
	return &Doorbell{newPublisher(conn)}
}

// Ring publishes a request and returns once the broker has it, within five seconds
// or ctx. After an error it may have it nevertheless, which is harmless: requests
// of one id are one run.
func (d *Doorbell) Ring(ctx context.Context, request run.Request) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode sync request %s: %w", request.ID, err)
	}
	if len(body) > MaxBody {
		return fmt.Errorf("sync request %s is %d bytes long, a message holds at most %d: name fewer products", request.ID, len(body), MaxBody)
	}
	err = d.publisher.publish(ctx, RequestKey, amqp.Publishing{
		ContentType:  contentType,
		DeliveryMode: amqp.Persistent,
		MessageId:    request.ID,
		Timestamp:    time.Now(),
		Type:         "sync-request",
		AppId:        rabbit.App,
		Body:         body,
	})
	if err != nil {
		return fmt.Errorf("publish sync request %s: %w", request.ID, err)
	}
	return nil
}

const contentType = "application/json"

// Close ends the doorbell's channel; the connection stays.
func (d *Doorbell) Close() { d.publisher.close() }
