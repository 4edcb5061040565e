package source

import (
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/ecom-micro/etl/internal/product"
)

// A scan reads what is compared and what tells when, and nothing else; a repair reads
// what an event carries besides.
func TestWhatIsReadIsWhatIsCompared(t *testing.T) {
	t.Parallel()
	var scan, event []string
	for _, f := range product.CartFields() {
		scan = append(scan, f.String())
	}
	for f := range product.NumFields {
		event = append(event, f.String())
	}
	for name, test := range map[string]struct {
		projection bson.D
		want       []string
	}{
		"a scan":                    {scanFields(product.ObjectIDs, product.CartFields()), append(scan, "createdAt", "updatedAt")},
		"a scan of some fields":     {scanFields(product.Strings, []product.Field{product.Price}), []string{"price", "createdAt", "updatedAt"}},
		"a scan of ObjectIds alone": {scanFields(product.ObjectIDs, nil), []string{"_id"}},
		"a scan of other ids alone": {scanFields(product.Integers, nil), []string{"createdAt"}},
		"find":                      {eventFields, append(event, "tags", "createdAt", "updatedAt")},
	} {
		var got []string
		for _, field := range test.projection {
			got = append(got, field.Key)
			if field.Value != 1 {
				t.Errorf("%s: %s is projected as %v", name, field.Key, field.Value)
			}
		}
		slices.Sort(got)
		slices.Sort(test.want)
		if !slices.Equal(got, test.want) {
			t.Errorf("%s reads %q, want %q", name, got, test.want)
		}
	}
}

// Each field that is read is known to the decoder by the same name.
func TestEveryFieldThatIsReadIsDecoded(t *testing.T) {
	t.Parallel()
	moment := time.UnixMilli(1_700_000_000_000)
	document := bson.D{{Key: "_id", Value: "p"}, {Key: "tags", Value: bson.A{"a tag"}}, {Key: "createdAt", Value: moment}, {Key: "updatedAt", Value: moment.Add(time.Second)}}
	for f := range product.NumFields {
		document = append(document, bson.E{Key: f.String(), Value: "the " + f.String()})
	}
	var p product.Product
	if ok, err := decode(encoded(t, document), &p, nil); !ok || err != nil {
		t.Fatal(ok, err)
	}
	for f := range product.NumFields {
		if want := product.TextValue("the " + f.String()); p.Values[f] != want {
			t.Errorf("%s is %v, want %v", f, p.Values[f], want)
		}
	}
	if !slices.Equal(p.Tags, []string{"a tag"}) || !p.Created.Equal(moment) || !p.Updated.Equal(moment.Add(time.Second)) {
		t.Errorf("tags %q, created %s, updated %s", p.Tags, p.Created, p.Updated)
	}
}
