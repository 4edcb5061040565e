package cart

import (
	"context"
	"fmt"
	"time"

	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// handler does with an event what the Cart Service's listeners do. An error is what they do not catch.
type handler struct {
	store *store
	delay time.Duration
}

// outcome is what became of an event that was handled.
type outcome int

const (
	ignored outcome = iota
	inserted
	updated
	deleted
)

func (h handler) handle(ctx context.Context, queue string, body []byte) (outcome, error) {
	event, err := parse(body)
	if err != nil {
		return 0, fmt.Errorf("parse the body: %w", err)
	}
	switch queue {
	case platform.ProductCreated:
		return h.created(ctx, event)
	case platform.ProductUpdated:
		return h.updated(ctx, event, "title", "price", "image", "quantity")
	case platform.ProductQuantityUpdated:
		return h.updated(ctx, event, "quantity")
	case platform.ProductDeleted:
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
	if h.delay > 0 {
		select {
		case <-time.After(h.delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return found, nil
}

// created inserts a product that is not there. It changes none that is, and so loses an event without an id.
func (h handler) created(ctx context.Context, event fields) (outcome, error) {
	found, err := h.find(ctx, event)
	if err != nil || found != nil {
		return ignored, err
	}
	values := make([][]byte, 6)
	for i, field := range []string{"id", "title", "price", "image", "sellerId", "quantity"} {
		if values[i], err = event.parameter(field); err != nil {
			return 0, err
		}
	}
	if err := h.store.insert(ctx, values[0], values[1], values[2], values[3], values[4], values[5]); err != nil {
		return 0, fmt.Errorf("insert product %q: %w", values[0], err)
	}
	return inserted, nil
}

// updated sets those of some fields that are in the event. The fields are named like their columns.
func (h handler) updated(ctx context.Context, event fields, settable ...string) (outcome, error) {
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
			return 0, err
		}
		columns, values = append(columns, field), append(values, value)
	}
	if err := h.store.update(ctx, found, columns, values); err != nil {
		return 0, fmt.Errorf("update product %q: %w", found, err)
	}
	return updated, nil
}

func (h handler) deleted(ctx context.Context, event fields) (outcome, error) {
	found, err := h.find(ctx, event)
	if err != nil || found == nil {
		return ignored, err
	}
	if err := h.store.delete(ctx, found); err != nil {
		return 0, fmt.Errorf("delete product %q: %w", found, err)
	}
	return deleted, nil
}
