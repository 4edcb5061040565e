package target

import (
	"testing"

	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/repairertest"
)

func TestWriterIsARepairer(t *testing.T) {
	t.Parallel()
	repairertest.Suite{Direct: true, Open: func(t *testing.T) repairertest.Fixture {
		db := testenv.Cart(t)
		target, proxy := proxied(t, db)
		return repairertest.Fixture{
			Repairer: writerOf(t, target),
			Cart:     repairertest.Database{CartDB: db},
			Break:    proxy.Reset,
			Freeze:   func() (thaw func()) { proxy.Freeze(); return proxy.Thaw },
		}
	}}.Test(t)
}
