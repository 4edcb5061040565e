package reconcile_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// A dry run names what differs, and finds out what could not be repaired of the kinds
// that the run would repair.
func TestADryRunNamesWhatDiffers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		repair     run.Kinds
		want       []string
		unrepaired int64
	}{
		{run.Kinds{product.Missing}, []string{
			"1 missing found", "2 missing blocked misfit 9.99 has a fraction, and the column is integer",
			"3 missing found", "5 stale found", "6 orphaned found", "7 orphaned found", "8 stale found",
		}, 3},
		{product.Kinds(), []string{
			"1 missing found", "2 missing blocked misfit 9.99 has a fraction, and the column is integer",
			"3 missing found", "5 stale found", "6 orphaned found", "7 orphaned blocked referenced public.cart", "8 stale blocked use-direct sellerId",
		}, 7},
	} {
		t.Run(test.repair.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(8, first(3))
				s.change(id(2), func(p *product.Product) { p.Values[product.Price] = product.FloatValue(9.99) })
				s.stale(id(5))
				s.orphan(id(6), id(7))
				s.references[id(7)] = "public.cart"
				p, _ := s.product(id(8))
				p.Values[product.SellerID] = product.TextValue("other")
				s.add(p, false)
				set := s.dryRun(test.repair...)
				set.Replay = nil
				report, err := s.do(t.Context(), t, set)
				if err != nil || report.Result != run.Partial || report.Unrepaired != test.unrepaired {
					t.Errorf("%v, %+v", err, report)
				}
				var got []string
				for _, o := range report.Samples {
					got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s", strings.TrimLeft(string(o.ID), "0"), o.Kind, o.State, o.Reason.Code, o.Reason.Detail)))
				}
				slices.Sort(got)
				if !slices.Equal(got, test.want) {
					t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
				}
			})
		})
	}
}

// A stale product is named with what differs, whole unless it is huge.
func TestAStaleProductIsNamedWithItsFields(t *testing.T) {
	t.Parallel()
	const head = "data:image/png;base64,"
	whole, huge := head+strings.Repeat("ä", 450), head+strings.Repeat("ä", 1<<20)
	for _, test := range []struct {
		name, source, cart string
		check              func(run.FieldChange) bool
	}{
		{"whole", whole, "lamp.png", func(c run.FieldChange) bool {
			return c == run.FieldChange{Field: "image", Source: whole, Cart: "lamp.png"}
		}},
		{"one side huge", huge, whole, func(c run.FieldChange) bool {
			return c.SourceWhole.Bytes == len(huge) && c.SourceWhole.SHA256 != "" && c.CartWhole.Bytes == len(whole) && strings.HasPrefix(c.Cart, "…ä") && strings.HasSuffix(c.Cart, "ä")
		}},
		{"they differ far behind", huge + ".jpg", huge + ".png", func(c run.FieldChange) bool {
			return len(c.Source) <= run.MaxValue && strings.HasSuffix(c.Source, "ä.jpg") && strings.HasSuffix(c.Cart, "ä.png") && c.SourceWhole.Bytes == c.CartWhole.Bytes && c.SourceWhole != c.CartWhole
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(2, none)
				p, _ := s.product(id(1))
				p.Values[product.Image] = product.TextValue(test.cart)
				s.add(p, true)
				p.Values[product.Image] = product.TextValue(test.source)
				p.Values[product.Price] = product.IntegerValue(1)
				s.add(p, false)
				report, err := s.do(t.Context(), t, s.replay())
				if err != nil || len(report.Samples) != 1 {
					t.Fatalf("%v, %d samples", err, len(report.Samples))
				}
				got := report.Samples[0].Fields
				if len(got) != 2 || got[0] != (run.FieldChange{Field: "price", Source: "1", Cart: "777"}) || !test.check(got[1]) {
					t.Errorf("got %.2000v", got)
				}
			})
		})
	}
}

// A result is about what the run is to repair; a dry run compares everything.
func TestResults(t *testing.T) {
	t.Parallel()
	missing, every := run.Kinds{product.Missing}, run.Kinds(product.Kinds())
	tests := []struct {
		name   string
		change func(s *shop)
		repair run.Kinds
		run    run.Result
		dry    run.Result
	}{
		{"nothing differs", func(*shop) {}, missing, run.InSync, run.InSync},
		{"a product is missing", func(s *shop) { s.removeRow(id(1)) }, missing, run.Succeeded, run.Partial},
		{"a product is stale", func(s *shop) { s.stale(id(1)) }, missing, run.Succeeded, run.Partial},
		{"a product is stale, and that is to be repaired", func(s *shop) { s.stale(id(1)) }, every, run.Succeeded, run.Partial},
		{"a row is orphaned", func(s *shop) { s.delete(id(1)) }, missing, run.Succeeded, run.Partial},
		{"a row is orphaned, and that is to be repaired", func(s *shop) { s.delete(id(1)) }, every, run.Succeeded, run.Partial},
		{"an orphaned row is referenced", func(s *shop) { s.delete(id(1)); s.references[id(1)] = "public.cart" }, every, run.Partial, run.Partial},
		{"an id cannot be compared", func(s *shop) { s.unsupported = map[string]int64{"double": 1} }, missing, run.Partial, run.Partial},
		{"a product is missing and deleted before its repair", func(s *shop) {
			s.removeRow(id(1))
			s.once(func(c call) bool { return c.operation == findProducts }, func() { s.delete(id(1)) })
		}, missing, run.InSync, run.InSync},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, dry := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					s := newShop(3, none)
					test.change(s)
					set, want := s.replay(test.repair...), test.run
					if dry {
						set, want = s.dryRun(test.repair...), test.dry
					}
					report, err := s.do(t.Context(), t, set)
					if err != nil || report.Result != want {
						t.Errorf("%v, dry %v: the result is %q, want %q", err, dry, report.Result, want)
					}
				})
			}
		})
	}
}

// A replayed update sets the cart's stock too, which orders lower: that is said.
func TestAReplayedUpdateSetsTheStock(t *testing.T) {
	t.Parallel()
	for _, mode := range []run.Mode{run.Replay, run.Direct} {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(5, none)
			s.stale(idsFrom(1, 3)...)
			if mode == run.Direct {
				report, err := s.do(t.Context(), t, s.direct(product.Stale))
				if err != nil {
					t.Error(err)
				}
				wantNotes(t, report)
				return
			}
			report, err := s.do(t.Context(), t, s.replay(product.Stale))
			if err != nil {
				t.Error(err)
			}
			wantNotes(t, report, run.Note{Code: run.NoteStockSet, Number: 3})
		})
	}
}

// The report is an interface: programs read these names.
func TestReportAsJSON(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(2, first(1))
		s.change(id(1), func(p *product.Product) { p.Values[product.Price] = product.FloatValue(9.99) })
		report, err := s.do(t.Context(), t, s.replay())
		if err != nil {
			t.Fatal(err)
		}
		report.Finished = report.Started.Add(3e9)
		report.Duration = 3000
		got, err := json.Marshal(report)
		if err != nil {
			t.Fatal(err)
		}
		const want = `{"run":"run","mode":"replay","dryRun":false,"repair":["missing"],"result":"partial",` +
			`"startedAt":"2000-01-01T00:00:00Z","finishedAt":"2000-01-01T00:00:03Z","durationMs":3000,` +
			`"source":"shop.products","target":"cart.public.product","productsCompared":2,"rowsCompared":1,"unsupportedIds":{},` +
			`"suspects":1,"resolved":0,"found":{"missing":1},"acted":0,"attempts":0,"outcomes":{"blocked":1},"byKind":{"missing":{"blocked":1}},` +
			`"samples":[{"id":"000000000000000000000001","kind":"missing","title":"Lamp","state":"blocked","column":"price",` +
			`"reason":{"code":"misfit","detail":"9.99 has a fraction, and the column is integer"}}],` +
			`"notes":[],"unrepaired":1}`
		if string(got) != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}
