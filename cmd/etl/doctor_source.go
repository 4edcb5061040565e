package main

import (
	"context"
	"fmt"

	"github.com/ecom-micro/etl/internal/source"
)

func (d *doctor) examineSource(ctx context.Context, c *config, clean *cleanup) {
	src, err := source.Open(c.Source)
	if err != nil {
		d.fail("product service", err)
		return
	}
	clean.add(func(ctx context.Context) { _ = src.Close(ctx) })
	skew, err := src.Ping(ctx)
	if err != nil {
		d.fail("product service", err)
		return
	}
	d.pass("product service", "connected, "+src.Name()+" may be read")
	d.clock("product service clock", skew)
	exists, err := src.Exists(ctx)
	if err == nil && !exists {
		err = fmt.Errorf("%s does not exist: check the database name of PRODUCT_SERVICE_MONGODB_URL and PRODUCT_COLLECTION", src.Name())
	}
	if err != nil {
		d.fail("products", err)
		return
	}
	count, err := src.EstimatedCount(ctx)
	if err != nil {
		d.fail("products", err)
		return
	}
	d.pass("products", "about "+grouped(count))
	unsupported, err := src.Unsupported(ctx)
	switch {
	case err != nil:
		d.fail("product ids", err)
	case len(unsupported) > 0:
		d.warn("product ids", fmt.Sprintf("of types that cannot be compared: %v", unsupported))
	default:
		d.pass("product ids", "all of supported types")
	}
}
