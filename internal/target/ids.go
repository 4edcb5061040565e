package target

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/product"
)

// idColumn is how the id column compares texts.
type idColumn struct {
	// blurred: it takes some texts that differ for one (a collation that ignores case,
	// citext, the padding of char), so that one row stands for several ids.
	blurred bool
	// cast turns a text into the column's type, and schema has that type's operators,
	// which need not be in the role's search path. Empty for types that compare as texts do.
	cast, schema string
}

func idColumnOf(schema, typeName string) idColumn {
	if typeName != "bpchar" && typeName != "citext" {
		return idColumn{}
	}
	return idColumn{blurred: true, cast: "::text::" + pgx.Identifier{schema, typeName}.Sanitize(), schema: pgx.Identifier{schema}.Sanitize()}
}

// idIs is a condition on the id column, by the column's own rules.
func (s *shape) idIs(operator, value string) string {
	if s.ids.cast == "" {
		return s.id + " " + operator + " " + value
	}
	return s.id + " OPERATOR(" + s.ids.schema + "." + operator + ") " + value + s.ids.cast
}

// named is the condition that a row, called by a prefix such as "held.", has exactly
// one of the ids in $1.
func (s *shape) named(row string) string {
	if !s.ids.blurred {
		return row + s.id + " = ANY($1)"
	}
	ids := "ANY($1)"
	if s.ids.cast != "" {
		ids = "OPERATOR(" + s.ids.schema + ".=) ANY($1::text[]" + s.ids.cast[len("::text"):] + "[])"
	} else {
		ids = "= " + ids
	}
	return row + s.id + " " + ids + " AND " + row + s.id + `::text COLLATE "C" = ANY($1::text[])`
}

// one is the condition that the row held has exactly this id.
func (s *shape) one(id string) string {
	condition := "held." + s.idIs("=", id)
	if s.ids.blurred {
		condition += " AND held." + s.id + `::text COLLATE "C" = ` + id
	}
	return condition
}

// taken adds the rows to misfits whose ids the table takes for those of other rows that
// are there: the cart would find such a row, and store nothing.
func (t *Target) taken(ctx context.Context, rows []product.Row, misfits map[product.ID]*product.Misfit) error {
	if !t.shape.ids.blurred {
		return nil
	}
	ids := make([]product.ID, len(rows))
	for i := range rows {
		ids[i] = rows[i].ID
	}
	query := "WITH given AS MATERIALIZED (SELECT id, n FROM unnest($1::text[]) WITH ORDINALITY AS given(id, n)) " +
		"SELECT given.id, held." + t.shape.id + "::text FROM given JOIN " + t.identifier() + " AS held ON held." + t.shape.idIs("=", "given.id") +
		" WHERE held." + t.shape.id + `::text COLLATE "C" <> given.id`
	taken, err := retried(ctx, func() (map[product.ID]string, error) {
		result, err := t.pool.Query(ctx, query, idTexts(ids))
		if err != nil {
			return nil, err
		}
		taken := make(map[product.ID]string)
		var id, held string
		_, err = pgx.ForEachRow(result, []any{&id, &held}, func() error {
			taken[product.ID(id)] = held
			return nil
		})
		return taken, err
	})
	if err != nil {
		return fmt.Errorf("look for rows of %s that take the place of others: %w", t.Name(), t.explained(ctx, err))
	}
	for id, held := range taken {
		misfits[id] = &product.Misfit{Column: t.shape.table.ID.Name, Reason: "the cart takes it for " + strconv.QuoteToASCII(held) + ", which is there"}
	}
	return nil
}
