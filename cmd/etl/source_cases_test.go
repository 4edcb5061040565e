package main

import (
	"math"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// The cases of MongoDB in the field.

// keyed inserts a product with another key and other changes; with a row id the cart has it.
func (s *shop) keyed(id any, row string, changes ...bson.E) {
	s.tb.Helper()
	p := s.catalogue.InsertOdd(append([]bson.E{bsonField("_id", id)}, changes...)...)
	if row != "" {
		r := testenv.RowOf(p)
		r.ID = row
		s.cart.Insert(r)
	}
}

// wantRow insists on a row of the cart, and on its stock.
func (s *shop) wantRow(id string, quantity int) {
	s.tb.Helper()
	if row, found := s.cart.Row(id); !found || quantity > 0 && row.Quantity != quantity {
		s.tb.Errorf("the cart's row %s: found %t, %+v", id, found, row)
	}
}

// Whole numbers of every type are keys (A5), times of every type are times (A8), and what
// is older than the model's defaults has them (A13).
func TestCaseA5A8A13DocumentsOfEveryAge(t *testing.T) {
	t.Parallel()
	s := newShop(t, 5, none)
	s.consumer()
	seven, err := bson.ParseDecimal128("7.00")
	if err != nil {
		t.Fatal(err)
	}
	old, young := time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
	s.keyed(seven, "7")
	s.keyed(8.0, "", bsonField("createdAt", old))
	s.keyed(math.Copysign(0, -1), "0")
	for id, createdAt := range map[string]any{
		"text": young.Format(time.RFC3339), "number": young.UnixMilli(), "null": nil, "absent": platform.Absent, "odd": "a minute ago",
	} {
		s.keyed(id, "", bsonField("createdAt", createdAt))
	}
	s.keyed("old text", "", bsonField("createdAt", old.Format(time.RFC3339)), bsonField("quantity", platform.Absent), bsonField("category", platform.Absent), bsonField("tags", platform.Absent))
	s.keyed("null stock", "", bsonField("createdAt", old.UnixMilli()), bsonField("quantity", nil))

	recent := s.mustSync(t.Context(), exitOK, "--since", "10m")
	if recent.Outcomes[run.Verified] != 5 {
		t.Errorf("of the last 10 minutes %d were verified, want 5: %+v", recent.Outcomes[run.Verified], recent.Samples)
	}
	for _, id := range []string{"text", "number", "null", "absent", "odd"} {
		s.wantRow(id, 0)
	}
	whole := s.mustSync(t.Context(), exitDifferences)
	if whole.Found[product.Orphaned] != 0 || whole.Outcomes[run.Verified] != 2 || whole.Outcomes[run.Blocked] != 1 || note(whole, run.NoteUnsupported) != nil {
		t.Errorf("found %v, outcomes %v, samples %+v, notes %s", whole.Found, whole.Outcomes, whole.Samples, notes(whole))
	}
	s.wantRow("8", 0)
	s.wantRow("old text", 5)
	if o := s.etl(t.Context(), "explain", "8"); o.code != exitOK {
		t.Errorf("explain 8 ended with %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	s.mustSync(t.Context(), exitOK, "--id", "8", "--id", "7", "--id", "0")
}

func TestCaseD4OptionsOfTheURLAreNotUsed(t *testing.T) {
	t.Parallel()
	s := newShop(t, 5, none)
	s.consumer()
	s = s.with(map[string]string{"PRODUCT_SERVICE_MONGODB_URL": testenv.ChangedURL(t, s.catalogue.URL, func(u *url.URL) {
		query := u.Query()
		query.Set("readPreference", "secondaryPreferred")
		query.Set("readConcernLevel", "local")
		u.RawQuery = query.Encode()
	})})
	const said = "readConcernLevel, readPreference, which is not used: what decides is read from the primary"
	if o := s.etl(t.Context(), "doctor"); o.code != exitOK || !strings.Contains(o.stdout, said) || !strings.Contains(o.stdout, "ok    product service reads") {
		t.Errorf("doctor ended with %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	report := s.mustSync(t.Context(), exitOK)
	if n := note(report, run.NoteNotUsed); n == nil || !strings.Contains(n.Text, said) {
		t.Errorf("the report's notes: %s", notes(report))
	}
}

// A replica set whose majority stays behind decides nothing, and says so.
func TestCaseD4DoctorSeesAMajorityThatStaysBehind(t *testing.T) {
	t.Parallel()
	s := newShop(t, 5, every(2))
	wire := testenv.NewMongoWire(t, testenv.MongoServer(t)) // a replica set in words; the products are the server's
	wire.Edit(testenv.MongoMember{Set: "rs", Hosts: []string{wire.Addr}, Me: wire.Addr, Primary: wire.Addr, Term: 1, Written: 1_700_000_100, Committed: 1_700_000_000}.Greet)
	s = s.with(map[string]string{"PRODUCT_SERVICE_MONGODB_URL": withHost(t, s.catalogue.URL, wire.Addr)})
	doctor := s.start(t.Context(), "doctor")
	const said = "the majority of the replica set stays behind its primary's last write"
	if o := s.etl(t.Context(), "validate"); o.code == exitOK || strings.Contains(o.stdout, "missing") || !strings.Contains(o.stderr, said) {
		t.Errorf("validate ended with %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	if o := doctor.wait(); o.code != exitService || !strings.Contains(o.stdout, "FAIL  product service reads") || !strings.Contains(o.stdout, said) {
		t.Errorf("doctor ended with %d\n%s%s", o.code, o.stdout, o.stderr)
	}
}
