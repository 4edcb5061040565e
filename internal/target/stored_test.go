package target

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/cart"
)

// said is a value of the source and the JSON that the Product Service writes for it.
type said struct {
	value product.Value
	json  string
}

func (s said) String() string { return s.json }

func saidNumber(f float64) said {
	written, err := json.Marshal(f) // as JavaScript writes it
	if err != nil {
		written = []byte("null") // also as JavaScript does
	}
	return said{product.FloatValue(f), string(written)}
}

func saidText(s string) said {
	written, _ := json.Marshal(s)
	return said{product.TextValue(s), string(written)}
}

// someNumber draws numbers as documents have them, and odd ones.
func someNumber() *rapid.Generator[said] {
	exact := []float64{0, math.Copysign(0, -1), 9.99, 19.990000000000002, 0.1 + 0.2, 0.005, 1.005, -2.5, 1e-7, 1e21, 1e20, 123456789.125, 3e9, 1 << 53, 1 << 60, 1<<63 - 1024, -1 << 63,
		32767, 32768, -32769, 2147483647, 2147483648, 99999999.995, 0.00999, 0.0099949, 1e-46, 1e-320, 3.5e38, 1e308, math.NaN(), math.Inf(1), math.Inf(-1), 16777217, 8.589973e9}
	return rapid.OneOf(
		rapid.Map(rapid.SampledFrom(exact), saidNumber),
		rapid.Map(rapid.Int64Range(-100_000, 100_000), func(n int64) said { return saidNumber(float64(n)) }),
		rapid.Map(rapid.Int64Range(-1_000_000, 1_000_000), func(n int64) said { return saidNumber(float64(n) / 1000) }),
		rapid.Map(rapid.Int64(), func(n int64) said { return said{product.IntegerValue(n), fmt.Sprint(n)} }),
		rapid.Map(rapid.Float64(), saidNumber),
		rapid.Map(rapid.Float64Range(-1e6, 1e6), saidNumber),
	)
}

// someText draws texts that a number's column may take, or nearly.
func someText() *rapid.Generator[said] {
	blank := rapid.StringMatching(`[ \t\n\v\f\r]{0,2}`)
	sign := rapid.SampledFrom([]string{"", "", "", "-", "+"})
	digits := rapid.SampledFrom([]string{"0", "7", "12", "0012", "99999", "32768", "2147483648", "9223372036854775807", "9223372036854775808", "123456789012345678901234567890", ""})
	number := rapid.Custom(func(t *rapid.T) string {
		s := digits.Draw(t, "whole")
		if rapid.Bool().Draw(t, "has a point") {
			s += "." + rapid.SampledFrom([]string{"", "0", "00", "5", "005", "995", "12345678901234567890"}).Draw(t, "fraction")
		}
		if rapid.IntRange(0, 3).Draw(t, "has an exponent") == 0 {
			s += rapid.SampledFrom([]string{"e", "E"}).Draw(t, "e") + sign.Draw(t, "sign of the exponent") + rapid.SampledFrom([]string{"0", "3", "18", "40", "310", "400", ""}).Draw(t, "exponent")
		}
		return s
	})
	odd := rapid.SampledFrom([]string{"NaN", "nan", "Infinity", "infinity", "inf", "INF", "0x1F", "0X1f", "0xg", "0x", "0b101", "0o17", "017", "1_000", "1__000", "_1", "1_", "1_000.5", "0x_1F", "0x1p3", "0x.8", "1e1_0", "1 2", "٣", "true", "null", "1,5", "--1", "1d", "1f", "1e 5", "nan(1)", "1._5", "1_.5", "1e_5", "1e5_0", "0x1_F", "0b_1", "0b2", "0o8", ".5_0", "infi", "0x1F.8", "0x.", "0x1p", "0xffffffffffffffff"})
	return rapid.Map(rapid.Custom(func(t *rapid.T) string {
		return blank.Draw(t, "before") + sign.Draw(t, "sign") + rapid.OneOf(number, number, odd).Draw(t, "number") + blank.Draw(t, "behind")
	}), saidText)
}

// someWords draws texts that a text's column may take.
func someWords() *rapid.Generator[said] {
	return rapid.Map(rapid.StringMatching(`[aB1é😀]{0,5}[ \t]{0,3}`), saidText)
}

// stored has a price inserted as the cart does it, and tells which of the values the
// database took.
func (s *saying) stored(t *rapid.T, values []said) (taken []bool) {
	err := s.db.Pool.AcquireFunc(s.t.Context(), func(conn *pgxpool.Conn) error {
		pipeline := conn.Conn().PgConn().StartPipeline(s.t.Context())
		for i, v := range values {
			parameter, err := cart.Parameter(json.RawMessage(v.json))
			if err != nil {
				t.Fatal(err)
			}
			pipeline.SendQueryParams("INSERT INTO "+s.schema+`.product VALUES ($1, 'a', $2, 'a', 'a', 1)`, [][]byte{[]byte(s.id("cart", i)), parameter}, nil, nil, nil)
			pipeline.SendPipelineSync()
		}
		if err := pipeline.Flush(); err != nil {
			return err
		}
		for range values {
			held, err := converted(pipeline)
			if err != nil {
				return err
			}
			taken = append(taken, held)
		}
		return pipeline.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	return taken
}

// saying is a cart's table of which one column is tried.
type saying struct {
	t      *testing.T
	db     *testenv.CartDB
	schema string
	round  int
}

func (s *saying) id(of string, i int) string { return fmt.Sprintf("%s-%d-%d", of, s.round, i) }

// For every type of column and any value: what the database makes of it on its way
// through the cart's consumer is what we take for equal and would write, and what it
// refuses is a misfit.
func TestCaseA3AndA4TheDatabaseDecides(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	for i, columnType := range []string{"smallint", "integer", "bigint", "numeric", "numeric(10,2)", "numeric(3,5)", "numeric(4,-2)", "numeric(30,10)",
		"real", "double precision", "varchar", "text", "varchar(5)", "char(5)"} {
		t.Run(columnType, func(t *testing.T) {
			t.Parallel()
			s := &saying{t: t, db: db, schema: fmt.Sprintf("stored%d", i)}
			withSchema(db, s.schema, "CREATE TABLE product (%s); ALTER TABLE product ALTER price TYPE "+columnType+", ALTER price DROP NOT NULL")
			target := described(t, db.URL, s.schema)
			rapid.Check(t, func(t *rapid.T) {
				s.round++
				kinds := []*rapid.Generator[said]{someNumber(), someText(), someNumber(), someText(), someText(), rapid.Map(rapid.Bool(), func(b bool) said { return said{product.BooleanValue(b), fmt.Sprint(b)} })}
				if strings.Contains(columnType, "char") || columnType == "text" {
					kinds = append(kinds, someWords())
				}
				values := rapid.SliceOfN(rapid.OneOf(kinds...), 1, 20).Draw(t, "values")
				s.check(t, target, values)
			})
		})
	}
}

func (s *saying) check(t *rapid.T, target *Target, values []said) {
	taken := s.stored(t, values)
	var repairs []product.Repair
	var ids []product.ID
	for i, v := range values {
		p := product.Product{Key: product.Key{Class: product.Strings, ID: product.ID(s.id("ours", i))}, Values: row("", 1).Values}
		p.Values[product.Price] = v.value
		fitted, err := target.Table().Fit(&p)
		var misfit *product.Misfit
		if err != nil && !errors.As(err, &misfit) {
			t.Fatal(err)
		}
		if (err == nil) != taken[i] {
			t.Fatalf("%s (%s): the database takes it: %t; we say %v", v.json, v.value, taken[i], err)
		}
		if err == nil {
			repairs = append(repairs, product.Repair{Product: p, Row: fitted})
			ids = append(ids, product.ID(s.id("cart", i)), p.ID())
		}
	}
	if _, err := writerOf(s.t, target).Repair(s.t.Context(), product.Missing, 1, repairs); err != nil {
		t.Fatal(err)
	}
	rows, err := target.Find(s.t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range repairs {
		carts, ours := rows[ids[2*i]].Values[product.Price], rows[ids[2*i+1]].Values[product.Price]
		if fitted := r.Row.Values[product.Price]; carts != ours || carts != fitted {
			t.Fatalf("%s: the cart stores %s, we write %s and say %s", r.Product.Values[product.Price], carts, ours, fitted)
		}
		held := rows[ids[2*i]]
		if differing := target.Table().Differing(&r.Product, &held, []product.Field{product.Price}); len(differing) > 0 {
			t.Fatalf("%s is stored as %s, which counts as different", r.Product.Values[product.Price], carts)
		}
	}
}
