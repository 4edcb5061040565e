package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/consumer"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/text"
)

// letters are the dead letters, for the API.
type letters struct {
	conn   *rabbit.Connection
	broker *Broker
}

// keyOf names a letter by all that tells it from others. Numbers change when letters go.
func keyOf(l *consumer.DeadLetter) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %q %q %d %d ", l.MessageID, l.AppID, l.Reason, l.At.UnixNano(), l.Size)
	sum.Write(l.Body)
	const most = 16
	return hex.EncodeToString(sum.Sum(nil)[:most])
}

// Letters implements api.Letters.
func (l letters) Letters(ctx context.Context, limit int) ([]api.Letter, error) {
	found, err := consumer.DeadLetters(ctx, l.conn, limit)
	if err != nil {
		return nil, err
	}
	const shown = 500 // bytes
	all := make([]api.Letter, len(found))
	for i := range found {
		one := &found[i]
		all[i] = api.Letter{Key: keyOf(one), Reason: text.Line(one.Reason), From: text.Line(one.AppID), At: one.At, Body: text.Line(text.Cut(string(one.Body), shown)), Size: one.Size}
	}
	return all, nil
}

// Waiting implements api.Letters.
func (l letters) Waiting(ctx context.Context) (int, error) {
	states, err := l.broker.Monitor.Look(ctx, consumer.DeadQueue)
	return states[consumer.DeadQueue].Ready, err
}

// Requeue implements api.Letters.
func (l letters) Requeue(ctx context.Context, key string) (int, error) {
	return consumer.RequeueDead(ctx, l.conn, func(d consumer.DeadLetter) bool { return keyOf(&d) == key })
}

// Drop implements api.Letters.
func (l letters) Drop(ctx context.Context, key string) (int, error) {
	return consumer.DropDead(ctx, l.conn, func(d consumer.DeadLetter) bool { return keyOf(&d) == key })
}
