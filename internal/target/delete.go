package target

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ecom-micro/etl/internal/product"
)

func noFields(*product.Repair) fieldSet { return fieldSet{} }

// remove deletes exactly the given rows. One that is referenced by another table
// stays, also where the reference would be deleted with it (ON DELETE CASCADE). A
// reference that was made since the snapshot fails the transaction, which at this
// level is so for cascades too, and the next snapshot shows it.
func (w *Writer) remove(ctx context.Context, _ fieldSet, changes []change) (map[product.ID]*product.Misfit, error) {
	ids := make([]product.ID, len(changes))
	for i := range changes {
		ids[i] = changes[i].Row.ID
	}
	var referenced map[product.ID]string
	err := pgx.BeginTxFunc(ctx, w.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, w.shape.deleteFree(w.identifier()), idTexts(ids))
		if err != nil || tag.RowsAffected() == int64(len(ids)) {
			return err
		}
		// Of the rows that were not deleted the others are not there.
		referenced, err = w.referenced(ctx, tx, ids)
		return err
	})
	var refused *pgconn.PgError
	if len(ids) == 1 && errors.As(err, &refused) && (refused.Code == foreignKeyViolation || refused.Code == restrictViolation) {
		referenced, err = map[product.ID]string{ids[0]: refused.SchemaName + "." + refused.TableName}, nil
	}
	if err != nil {
		return nil, err
	}
	misfits := make(map[product.ID]*product.Misfit, len(referenced))
	for id, table := range referenced {
		misfits[id] = &product.Misfit{Column: w.shape.table.ID.Name, Reason: "is referenced by table " + table}
	}
	return misfits, nil
}

const (
	foreignKeyViolation = "23503"
	restrictViolation   = "23001" // of ON DELETE RESTRICT, since PostgreSQL 18
)

// deleteFree is the statement that deletes those rows, of the ids that are bound,
// to which no other table refers.
func (s *shape) deleteFree(table string) string {
	var statement strings.Builder
	statement.WriteString("DELETE FROM " + table + " AS held WHERE " + s.named("held."))
	for _, r := range s.references {
		statement.WriteString(" AND NOT " + r.exists())
	}
	return statement.String()
}

// Referenced tells which of ids have rows that are referenced by other tables' rows,
// and by which table. A row that is referenced cannot be deleted. References that the role
// may not see are an obstacle to repairs, and not to a comparison.
func (t *Target) Referenced(ctx context.Context, ids []product.ID) (map[product.ID]string, error) {
	referenced, err := retried(ctx, func() (map[product.ID]string, error) { return t.referenced(ctx, t.pool, ids) })
	if err != nil {
		return nil, fmt.Errorf("look for references to rows of %s: %w", t.Name(), t.explained(ctx, err))
	}
	return referenced, nil
}

// querier is a connection, a pool of them or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func (t *Target) referenced(ctx context.Context, q querier, ids []product.ID) (map[product.ID]string, error) {
	referenced := make(map[product.ID]string)
	for _, r := range t.shape.references {
		if r.lacking != "" {
			continue
		}
		query := "SELECT held." + t.shape.id + "::text FROM " + t.identifier() + " AS held WHERE " + t.shape.named("held.") + " AND " + r.exists()
		rows, err := q.Query(ctx, query, idTexts(ids))
		if err != nil {
			return nil, err
		}
		held, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, err
		}
		for _, id := range held {
			referenced[product.ID(id)] = r.table
		}
	}
	return referenced, nil
}

func idTexts(ids []product.ID) []string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = string(id)
	}
	return texts
}

// reference is a foreign key of another table.
type reference struct {
	table   string // quoted
	matches string // the condition on a row r of that table and the row held of ours
	lacking string // the right that the role lacks to see all rows of that table
}

func (r reference) exists() string {
	return "EXISTS (SELECT FROM " + r.table + " AS r WHERE " + r.matches + ")"
}

// readReferences reads the foreign keys to the table and to its partitions. Those
// that PostgreSQL made for a partition, on either side, are parts of one of these. One
// that is not enforced keeps its products too. One to another column than the id may
// refuse an update, or change rows of a table that may.
func (s *shape) readReferences(ctx context.Context, tx pgx.Tx, oid uint32) error {
	rows, err := tx.Query(ctx, `
		SELECT format('%I.%I', n.nspname, c.relname),
			string_agg(format('r.%I = held.%I', f.attname, p.attname) || coalesce(' COLLATE ' || quote_ident(ln.nspname) || '.' || quote_ident(l.collname), ''), ' AND '),
			CASE WHEN NOT has_schema_privilege(n.oid, 'USAGE') THEN format('USAGE ON SCHEMA %I and SELECT', n.nspname)
				WHEN NOT bool_and(has_column_privilege(c.oid, f.attnum, 'SELECT')) THEN 'SELECT'
				WHEN row_security_active(c.oid) THEN 'SELECT without row-level security' ELSE '' END,
			k.conname::text, array_agg(p.attname::text), `+enforced+`
		FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		CROSS JOIN LATERAL unnest(k.conkey, k.confkey) AS pair (f, p)
		JOIN pg_attribute f ON f.attrelid = k.conrelid AND f.attnum = pair.f
		JOIN pg_attribute p ON p.attrelid = k.confrelid AND p.attnum = pair.p
		LEFT JOIN pg_collation l ON l.oid = p.attcollation AND p.attcollation <> f.attcollation LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
		WHERE (k.confrelid = $1::oid OR k.confrelid IN (SELECT relid FROM pg_partition_tree($1::oid))) AND k.contype = 'f' AND k.conparentid = 0
		GROUP BY k.oid, n.oid, n.nspname, c.oid, c.relname ORDER BY k.oid`, oid)
	if err != nil {
		return err
	}
	s.references, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r reference, err error) {
		var name string
		var columns []string
		var refuses bool
		err = row.Scan(&r.table, &r.matches, &r.lacking, &name, &columns, &refuses)
		if refuses && s.updated(columns) {
			s.obstacles = append(s.obstacles, obstacle{name: "foreign key " + name + " of " + r.table, kinds: []product.Kind{product.Stale}})
		}
		if r.lacking != "" {
			s.obstacles = append(s.obstacles, obstacle{name: "references of " + r.table + " (which the role may not see: GRANT " + r.lacking + ")", kinds: []product.Kind{product.Orphaned}})
		}
		return r, err
	})
	return err
}
