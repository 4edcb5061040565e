package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/ecom-micro/etl/internal/app"
	"github.com/ecom-micro/etl/internal/source"
)

func (d *doctor) examineSource(ctx context.Context, c *app.Config, clean *app.Cleanup) {
	src, err := source.Open(c.Source)
	if err != nil {
		d.fail("product service", err)
		return
	}
	clean.Add("the connections to the product service", src.Close)
	skew, err := src.Ping(ctx)
	if err != nil {
		d.fail("product service", err)
		return
	}
	d.pass("product service", "connected, "+src.Name()+" may be read")
	d.clock("product service clock", skew)
	if !d.examineReads(ctx, c, src) {
		return
	}
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

// examineReads looks at whether reads show what the primary has.
func (d *doctor) examineReads(ctx context.Context, c *app.Config, src *source.Source) (current bool) {
	if unused := c.Source.Unused(); len(unused) > 0 {
		d.warn("product service URL", fmt.Sprintf("sets %s, which is not used: what decides is read from the primary, as a majority has it", strings.Join(unused, ", ")))
	}
	if err := src.Current(ctx); err != nil {
		d.fail("product service reads", err)
		return false
	}
	d.pass("product service reads", "show the primary's last write")
	return true
}
