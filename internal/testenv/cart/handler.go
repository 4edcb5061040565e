package cart

import (
	"context"
	"fmt"
	"time"

	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// handler does with an event what the Cart Service's listeners do. An error is what they do not catch.
type handler struct {
	store     *store
	delay     time.Duration
	forgetful bool
}

// What may become of an event that was handled.
var (
	ignored  = Counts{Ignored: 1}
	inserted = Counts{Inserted: 1}
	updated  = Counts{Updated: 1}
	deleted  = Counts{Deleted: 1}
)

// handle returns the product that the event is about, empty if it names none, and what became of it.
func (h handler) handle(ctx context.Context, queue string, body []byte) (string, Counts, error) {
	event, err := parse(body)
	if err != nil {
		return "", Counts{}, fmt.Errorf("parse the body: %w", err)
	}
	id, err := event.parameter("id")
	if err != nil {
		return "", Counts{}, err
	}
	what, err := h.change(ctx, queue, event)
	return string(id), what, err
}

func (h handler) change(ctx context.Context, queue string, event fields) (Counts, error) {
	switch {
	case h.forgetful:
		return ignored, h.pause(ctx)
	case queue == platform.ProductCreated:
		return h.created(ctx, event)
	case queue == platform.ProductUpdated:
		return h.updated(ctx, event, "title", "price", "image", "quantity")
	case queue == platform.ProductQuantityUpdated:
		return h.updated(ctx, event, "quantity")
	case queue == platform.ProductDeleted:
		return h.deleted(ctx, event)
	default:
		return ignored, nil // orders are of no concern to the products
	}
}

// find looks up the product that an event is about; see store.find for an event without an id.
func (h handler) find(ctx context.Context, event fields) ([]byte, error) {
	id, err := event.parameter("id")
	if err != nil {
		return nil, err
	}
	found, err := h.store.find(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("find product %q: %w", id, err)
	}
	return found, h.pause(ctx)
}

func (h handler) pause(ctx context.Context) error {
	if h.delay == 0 {
		return nil
	}
	select {
	case <-time.After(h.delay):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// created inserts a product that is not there. It changes none that is, and so loses an event without an id.
func (h handler) created(ctx context.Context, event fields) (Counts, error) {
	found, err := h.find(ctx, event)
	if err != nil || found != nil {
		return ignored, err
	}
	values := make([][]byte, 6)
	for i, field := range []string{"id", "title", "price", "image", "sellerId", "quantity"} {
		if values[i], err = event.parameter(field); err != nil {
			return Counts{}, err
		}
	}
	if err := h.store.insert(ctx, values[0], values[1], values[2], values[3], values[4], values[5]); err != nil {
		return Counts{}, fmt.Errorf("insert product %q: %w", values[0], err)
	}
	return inserted, nil
}

// updated sets those of some fields that are in the event. The fields are named like their columns.
func (h handler) updated(ctx context.Context, event fields, settable ...string) (Counts, error) {
	found, err := h.find(ctx, event)
	if err != nil || found == nil {
		return ignored, err
	}
	var columns []string
	var values [][]byte
	for _, field := range settable {
		if !event.has(field) {
			continue
		}
		value, err := event.parameter(field)
		if err != nil {
			return Counts{}, err
		}
		columns, values = append(columns, field), append(values, value)
	}
	if err := h.store.update(ctx, found, columns, values); err != nil {
		return Counts{}, fmt.Errorf("update product %q: %w", found, err)
	}
	return updated, nil
}

func (h handler) deleted(ctx context.Context, event fields) (Counts, error) {
	found, err := h.find(ctx, event)
	if err != nil || found == nil {
		return ignored, err
	}
	if err := h.store.delete(ctx, found); err != nil {
		return Counts{}, fmt.Errorf("delete product %q: %w", found, err)
	}
	return deleted, nil
}
