package producer

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
)

// Headers of our events; the cart's consumers ignore them, operators read them.
const (
	headerRun     = "x-etl-run"
	headerAttempt = "x-etl-attempt"
	headerProduct = "x-etl-product"
	headerReason  = "x-etl-reason" // the kind of difference, or undone
)

const undone = "undone"

// message is what all events of the batch have in common.
func (b *batch) message() amqp.Publishing {
	return amqp.Publishing{
		Headers:      amqp.Table{headerRun: b.run, headerAttempt: int32(b.attempt)},
		ContentType:  "application/json",
		DeliveryMode: amqp.Persistent,
		Timestamp:    time.Now(),
		Type:         b.rule.Event,
		AppId:        rabbit.App,
	}
}

// address makes a message that of one product. The library keeps nothing of a
// message that it has written, so one serves them all.
func (b *batch) address(message *amqp.Publishing, repair *product.Repair) {
	reason := string(b.rule.Kind)
	if repair.Undo {
		reason = undone
	}
	message.MessageId = b.messageID(repair.Row.ID)
	message.Headers[headerProduct] = message.MessageId[len(b.prefix):]
	message.Headers[headerReason] = reason
}

// messageID is run/attempt/product.
func (b *batch) messageID(id product.ID) string {
	return b.prefix + shortened(id, maxShortString-len(b.prefix))
}

// maxShortString is the longest message id that AMQP carries, in bytes.
const maxShortString = 255

// shortened is the product's id, or its hash where it is longer than most bytes. A
// message's properties must fit into one frame, and its id into a short string.
func shortened(id product.ID, most int) string {
	if len(id) <= most {
		return string(id)
	}
	sum := sha256.Sum256([]byte(id))
	return "sha256:" + hex.EncodeToString(sum[:])
}
