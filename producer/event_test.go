package producer

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// cartTable is the cart's table as TypeORM makes it.
func cartTable() *product.Table {
	text := func(name string) product.Column {
		return product.Column{Name: name, Type: product.TextColumn, TypeName: "character varying"}
	}
	number := func(name string) product.Column {
		return product.Column{Name: name, Type: product.IntegerColumn, TypeName: "integer", Bits: 32}
	}
	table := &product.Table{Name: "public.product", ID: text("id")}
	table.Fields[product.Title], table.Fields[product.Image], table.Fields[product.SellerID] = text("title"), text("image"), text("sellerId")
	table.Fields[product.Price], table.Fields[product.Quantity] = number("price"), number("quantity")
	return table
}

// documentOf is a product of the platform as the source reads it.
func documentOf(p platform.Product) product.Product {
	document := product.Product{Key: product.Key{Class: product.ObjectIDs, ID: product.ID(p.ID.Hex())}, Tags: p.Tags, Created: p.CreatedAt, Updated: p.UpdatedAt}
	for field, value := range map[product.Field]product.Value{
		product.Title: product.TextValue(p.Title), product.Price: product.IntegerValue(int64(p.Price)), product.Image: product.TextValue(p.Image),
		product.SellerID: product.TextValue(p.SellerID.Hex()), product.Quantity: product.IntegerValue(int64(p.Quantity)),
		product.Category: product.TextValue(p.Category), product.OriginalPrice: product.IntegerValue(int64(p.OriginalPrice)),
		product.StockQuantity: product.IntegerValue(int64(p.StockQuantity)),
	} {
		document.Values[field] = value
	}
	return document
}

// fitted is the repair of a document that the table can hold.
func fitted(t testing.TB, table *product.Table, document product.Product) product.Repair {
	t.Helper()
	row, err := table.Fit(&document)
	if err != nil {
		t.Fatal(err)
	}
	return product.Repair{Product: document, Row: row}
}

// repairsOf are the repairs of n products of the platform.
func repairsOf(t testing.TB, seed uint64, n int) []product.Repair {
	t.Helper()
	var repairs []product.Repair
	table := cartTable()
	for p := range (platform.Assortment{Seed: seed, N: n}).All() {
		repairs = append(repairs, fitted(t, table, documentOf(p)))
	}
	return repairs
}

// bodyOf is the event that repairs a product.
func bodyOf(kind product.Kind, r *product.Repair) ([]byte, error) {
	return newEncoder().encode(kind, r)
}

func TestEventIsWhatTheProductServicePublishes(t *testing.T) {
	t.Parallel()
	events := newEncoder() // one for all, as in a batch
	for p := range (platform.Assortment{Seed: 7, N: 2_000}).All() {
		repair := fitted(t, cartTable(), documentOf(p))
		for kind, want := range map[product.Kind][]byte{
			product.Missing: withoutEscapes(p.Event()), product.Stale: withoutEscapes(p.Event()), product.Orphaned: p.DeletedEvent(),
		} {
			if body, err := events.encode(kind, &repair); err != nil || !bytes.Equal(body, want) {
				t.Fatalf("the event for a %s product is\n%s, %v, the Product Service's is\n%s", kind, body, err, want)
			}
		}
	}
}

// withoutEscapes undoes what Go's JSON does for HTML, and Node's does not.
func withoutEscapes(body []byte) []byte {
	return []byte(strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(body)))
}

func TestEventOfOddDocuments(t *testing.T) {
	t.Parallel()
	const proper = `{"id":"65f2a1b2c3d4e5f6a7b8c9d0","title":"a <b> & \"c\" \\ ü😀\n","price":777,"sellerId":"65f2a1b2c3d4e5f6a7b8c9d1","image":"a.jpg","quantity":5,` +
		`"category":"other","originalPrice":999,"stockQuantity":10,"tags":["new","<sale>"]}`
	number := func(text string) product.Value {
		v, ok := product.ParseNumber(text)
		if !ok {
			t.Fatalf("%q is no number", text)
		}
		return v
	}
	replaced := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(proper) }
	for _, tt := range []struct {
		name   string
		change func(*product.Product, *product.Table)
		want   string
	}{
		{"proper", func(*product.Product, *product.Table) {}, proper},
		{"a whole double", func(p *product.Product, _ *product.Table) { p.Values[product.Price] = product.FloatValue(9.0) }, replaced("777", "9")},
		{"a number as text", func(p *product.Product, _ *product.Table) { p.Values[product.Price] = product.TextValue("777") }, proper},
		{"a number as text with blanks", func(p *product.Product, _ *product.Table) { p.Values[product.Price] = product.TextValue(" 777\n") }, proper},
		{"a title that is a number", func(p *product.Product, _ *product.Table) { p.Values[product.Title] = product.IntegerValue(501) },
			replaced(`"a <b> & \"c\" \\ ü😀\n"`, `"501"`)},
		{"a fraction for a decimal column", func(p *product.Product, table *product.Table) {
			p.Values[product.Price] = number("9.99")
			table.Fields[product.Price] = product.Column{Name: "price", Type: product.DecimalColumn, TypeName: "numeric"}
		}, replaced("777", "9.99")},
		{"a big whole number for a decimal column", func(p *product.Product, table *product.Table) {
			p.Values[product.Price] = number("1e21")
			table.Fields[product.Price] = product.Column{Name: "price", Type: product.DecimalColumn, TypeName: "numeric"}
		}, replaced("777", "1000000000000000000000")},
		{"no tags", func(p *product.Product, _ *product.Table) { p.Tags = nil }, replaced(`["new","<sale>"]`, "[]")},
		{"no category", func(p *product.Product, _ *product.Table) { p.Values[product.Category] = product.Value{} }, replaced(`"category":"other",`, "")},
		{"the category is null", func(p *product.Product, _ *product.Table) { p.Values[product.Category] = product.NullValue() }, replaced(`"other"`, "null")},
		{"the category is a number", func(p *product.Product, _ *product.Table) { p.Values[product.Category] = number("1.5") }, replaced(`"other"`, "1.5")},
		{"the category is true", func(p *product.Product, _ *product.Table) { p.Values[product.Category] = product.BooleanValue(true) }, replaced(`"other"`, "true")},
		{"the original price is no number", func(p *product.Product, _ *product.Table) {
			p.Values[product.OriginalPrice] = product.FloatValue(math.NaN())
		}, replaced("999", "null")},
		{"the category is an object", func(p *product.Product, _ *product.Table) {
			p.Values[product.Category] = product.OtherValue("embedded document")
		}, replaced(`"category":"other",`, "")},
		{"a long original price, which the cart does not keep", func(p *product.Product, _ *product.Table) {
			p.Values[product.OriginalPrice] = product.IntegerValue(9007199254740993)
		}, replaced("999", "9007199254740993")},
		{"nothing but the cart's fields", func(p *product.Product, _ *product.Table) {
			for _, f := range []product.Field{product.Category, product.OriginalPrice, product.StockQuantity} {
				p.Values[f] = product.Value{}
			}
		}, replaced(`"category":"other","originalPrice":999,"stockQuantity":10,`, "")},
		{"a quantity that is left to the column's default", func(p *product.Product, table *product.Table) {
			p.Values[product.Quantity] = product.Value{}
			table.Fields[product.Quantity].HasDefault = true
		}, replaced(`"quantity":5,`, "")},
		{"an image that may be null", func(p *product.Product, table *product.Table) {
			p.Values[product.Image] = product.NullValue()
			table.Fields[product.Image].Nullable = true
		}, replaced(`"a.jpg"`, "null")},
		{"an id that is no ObjectId", func(p *product.Product, _ *product.Table) {
			p.Key = product.Key{Class: product.Strings, ID: "sku \"1\""}
		},
			replaced(`"65f2a1b2c3d4e5f6a7b8c9d0"`, `"sku \"1\""`)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := product.Product{Key: product.Key{Class: product.ObjectIDs, ID: "65f2a1b2c3d4e5f6a7b8c9d0"}, Tags: []string{"new", "<sale>"}}
			for f, v := range map[product.Field]product.Value{
				product.Title: product.TextValue("a <b> & \"c\" \\ ü😀\n"), product.Price: product.IntegerValue(777), product.Image: product.TextValue("a.jpg"),
				product.SellerID: product.TextValue("65f2a1b2c3d4e5f6a7b8c9d1"), product.Quantity: product.IntegerValue(5), product.Category: product.TextValue("other"),
				product.OriginalPrice: product.IntegerValue(999), product.StockQuantity: product.IntegerValue(10),
			} {
				p.Values[f] = v
			}
			table := cartTable()
			tt.change(&p, table)
			repair := fitted(t, table, p)
			body, err := bodyOf(product.Missing, &repair)
			if err != nil {
				t.Fatal(err)
			}
			if string(body) != tt.want {
				t.Errorf("the event is\n%s, want\n%s", body, tt.want)
			}
		})
	}
}

// What a reader of JSON would round, or JSON does not have, travels as text.
func TestNumbersThatAreTooLongForTheCartsReader(t *testing.T) {
	t.Parallel()
	number := func(text string) product.Value {
		v, _ := product.ParseNumber(text)
		return v
	}
	for _, tt := range []struct {
		price product.Value
		want  string
	}{
		{product.IntegerValue(9007199254740992), "9007199254740992"},
		{product.IntegerValue(-9007199254740992), "-9007199254740992"},
		{product.IntegerValue(9007199254740993), `"9007199254740993"`},
		{product.IntegerValue(-9007199254740993), `"-9007199254740993"`},
		{number("0.1"), "0.1"},
		{number("0.12345678901234567"), `"0.12345678901234567"`},
		{number("123456789012345678901234567890"), `"123456789012345678901234567890"`},
		{product.FloatValue(math.NaN()), `"NaN"`},
		{product.FloatValue(math.Inf(-1)), `"-Infinity"`},
	} {
		repair := repairsOf(t, 1, 1)[0]
		repair.Row.Values[product.Price] = tt.price
		body, err := bodyOf(product.Missing, &repair)
		if err != nil || !strings.Contains(string(body), `"price":`+tt.want+",") {
			t.Errorf("price %v: %s, %v; want %s", tt.price, body, err, tt.want)
		}
	}
}

// An event without an id makes the cart overwrite or delete another product, and one
// with a mangled id as well.
func TestNoEventWithoutItsID(t *testing.T) {
	t.Parallel()
	for _, kind := range product.Kinds() {
		for id, reason := range map[product.ID]string{"": "empty", "a\xff": "not valid UTF-8"} {
			repair := repairsOf(t, 1, 1)[0]
			repair.Row.ID = id
			body, err := bodyOf(kind, &repair)
			if misfit := new(product.Misfit); !errors.As(err, &misfit) || misfit.Column != "id" || !strings.Contains(misfit.Reason, reason) || body != nil {
				t.Errorf("%s, id %q: %s, %v", kind, id, body, err)
			}
		}
	}
}

// No event changes the seller in the cart.
func TestOnlyTheSellerDiffers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		kind    product.Kind
		fields  []product.Field
		refused bool
	}{
		{product.Stale, []product.Field{product.SellerID}, true},
		{product.Stale, []product.Field{product.Title, product.SellerID}, false},
		{product.Stale, []product.Field{product.Price}, false},
		{product.Stale, nil, false},
		{product.Missing, []product.Field{product.SellerID}, false},
		{product.Orphaned, []product.Field{product.SellerID}, false},
	} {
		repair := repairsOf(t, 1, 1)[0]
		repair.Fields = tt.fields
		body, err := bodyOf(tt.kind, &repair)
		var misfit *product.Misfit
		if refused := errors.As(err, &misfit); refused != tt.refused || refused == (body != nil) {
			t.Errorf("%s, %v differ: %s, %v", tt.kind, tt.fields, body, err)
		}
		if tt.refused && (misfit.Column != "sellerId" || !strings.Contains(misfit.Reason, "--mode direct")) {
			t.Errorf("%v", misfit)
		}
	}
}

// Whatever a document holds: if the table can hold it, the event is valid JSON
// that begins with its id and says exactly what the row will hold.
func TestEventSaysWhatTheRowHolds(t *testing.T) {
	t.Parallel()
	table := cartTable()
	table.Fields[product.Price] = product.Column{Name: "price", Type: product.DecimalColumn, TypeName: "numeric"}
	rapid.Check(t, func(t *rapid.T) {
		p := product.Product{Key: product.Key{Class: product.Strings, ID: product.ID(rapid.String().Draw(t, "id"))}, Tags: rapid.SliceOf(rapid.String()).Draw(t, "tags")}
		text := rapid.Map(rapid.String(), product.TextValue)
		whole := rapid.Map(rapid.Int32(), func(n int32) product.Value { return product.IntegerValue(int64(n)) })
		number := rapid.OneOf(whole, rapid.Map(rapid.Int64(), product.IntegerValue), rapid.Map(rapid.Float64(), product.FloatValue),
			rapid.SampledFrom([]product.Value{product.TextValue("777"), product.TextValue("9.0"), product.TextValue("-0.5e-3")}))
		p.Values[product.Quantity] = whole.Draw(t, "quantity")
		p.Values[product.Price] = number.Draw(t, "price")
		for _, f := range []product.Field{product.Title, product.Image, product.SellerID, product.Category, product.OriginalPrice, product.StockQuantity} {
			p.Values[f] = rapid.OneOf(text, number).Draw(t, f.String())
		}
		row, err := table.Fit(&p)
		if err != nil {
			t.Skip(err) // an empty id, a NUL in a text
		}
		body, err := bodyOf(product.Missing, &product.Repair{Product: p, Row: row})
		if errors.As(err, new(*product.Misfit)) {
			t.Skip(err) // a long number
		}
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(body, []byte(`{"id":"`)) {
			t.Fatalf("it does not begin with an id: %s", body)
		}
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.UseNumber()
		var read map[string]any
		if err := decoder.Decode(&read); err != nil || decoder.More() {
			t.Fatalf("%v: %s", err, body)
		}
		if read["id"] != string(p.ID()) {
			t.Fatalf("the id %q became %q", p.ID(), read["id"])
		}
		for _, f := range product.CartFields() {
			var got product.Value
			switch v := read[f.String()].(type) {
			case string:
				got = product.TextValue(v)
			case json.Number:
				// The cart's reader holds numbers as binary64, and writes no more digits
				// of one than tell it from others.
				double, err := v.Float64()
				if err != nil {
					t.Fatal(err)
				}
				got = product.StoredFloat(double, 64)
			}
			if got != row.Values[f] {
				t.Fatalf("%s: the row will hold %v, the event says %v: %s", f, row.Values[f], got, body)
			}
		}
		if tags, is := read["tags"].([]any); !is || len(tags) != len(p.Tags) {
			t.Fatalf("tags %q became %v", p.Tags, read["tags"])
		}
	})
}

func TestMessageID(t *testing.T) {
	t.Parallel()
	b := New(nil, rabbit.NewConnection(rabbit.Config{}, "etl monitor"), Config{}, run, 0).batch(product.Missing, 12, nil)
	const prefix = run + "/12/"
	if got := b.messageID("65f2a1b2c3d4e5f6a7b8c9d0"); got != prefix+"65f2a1b2c3d4e5f6a7b8c9d0" {
		t.Errorf("message id %q", got)
	}
	longest := product.ID(strings.Repeat("ü", (maxShortString-len(prefix))/2))
	if got := b.messageID(longest); got != prefix+string(longest) {
		t.Errorf("message id %q", got)
	}
	seen := map[string]bool{}
	for _, id := range []product.ID{longest + "ü", longest + "a" + "b", product.ID(strings.Repeat("a", 300)), product.ID(strings.Repeat("a", 301)), product.ID(strings.Repeat("a", 1<<20))} {
		got := b.messageID(id)
		if len(got) > maxShortString || !strings.HasPrefix(got, prefix+"sha256:") || seen[got] {
			t.Errorf("an id of %d bytes: message id %q", len(id), got)
		}
		seen[got] = true
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		config Config
		want   []string
	}{
		{Config{MaxQueueDepth: 1, ConfirmTimeout: 1, Route: ByQueue}, nil},
		{Config{MaxQueueDepth: 10_000, ConfirmTimeout: 1, Route: ByExchange}, nil},
		{Config{MaxQueueDepth: 0, ConfirmTimeout: 1, Route: ByQueue}, []string{"REPLAY_MAX_QUEUE_DEPTH is 0, it must be 1..10000"}},
		{Config{MaxQueueDepth: 10_001, ConfirmTimeout: 1, Route: ByQueue}, []string{"REPLAY_MAX_QUEUE_DEPTH is 10001"}},
		{Config{MaxQueueDepth: 1, ConfirmTimeout: 1, Route: "Queue"}, []string{`REPLAY_ROUTE is "Queue", it must be queue or exchange`}},
		{Config{MaxQueueDepth: -1, ConfirmTimeout: -1}, []string{"REPLAY_MAX_QUEUE_DEPTH is -1", "REPLAY_CONFIRM_TIMEOUT is -1ns, it must be above 0", `REPLAY_ROUTE is ""`}},
	} {
		var lines []string
		if err := tt.config.Validate(); err != nil {
			lines = strings.Split(err.Error(), "\n")
		}
		if len(lines) != len(tt.want) {
			t.Errorf("%+v: %q, want %q", tt.config, lines, tt.want)
			continue
		}
		for i, want := range tt.want {
			if !strings.HasPrefix(lines[i], want) {
				t.Errorf("%+v: %q, want %q first", tt.config, lines[i], want)
			}
		}
	}
}

// An event that would be too large is not even made, and what may be sent is as large as
// it was taken for.
func TestEventAboveWhatIsSent(t *testing.T) {
	t.Parallel()
	repair := repairsOf(t, 1, 1)[0]
	for _, text := range []string{"x", `"`, `\`, "\n", "\b", "\x01", "ü", "\u2028", "<", "\x7f"} {
		encoded, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		each := max(len(withoutEscapes(encoded))-len(`""`), len(text))
		for n, fits := range map[int]bool{maxEvent/each - 1000: true, maxEvent/each + 1: false} {
			repair.Product.Tags = []string{strings.Repeat(text, n)}
			body, err := bodyOf(product.Missing, &repair)
			var misfit *product.Misfit
			switch {
			case fits && (err != nil || len(body) < each*n):
				t.Errorf("%d of %q: %d bytes, %v", n, text, len(body), err)
			case !fits && (!errors.As(err, &misfit) || !strings.Contains(misfit.Reason, "at most 16777216")):
				t.Errorf("%d of %q: %d bytes, %v", n, text, len(body), err)
			}
		}
	}
	repair.Product.Tags = []string{strings.Repeat("\x01", 14<<20)}
	whole := whole(&repair)
	if size := whole.size(); size < 6*14<<20 || size > 6*14<<20+1000 {
		t.Errorf("it is taken for %d bytes", size)
	}
}
