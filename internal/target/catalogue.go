package target

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ecom-micro/etl/internal/product"
)

// catalogue reads what may refuse a row of the table. Each part becomes a check, which
// is calculated before a row is made, an obstacle, which only the database can judge,
// or, where it cannot refuse what a repair does, nothing.
type catalogue struct {
	tx        pgx.Tx
	oid       uint32
	shape     *shape
	relations []relation // the table first
	oids      []uint32   // theirs
	keyed     []string   // the columns that bounds of partitions compare, "" for one that has no single way
	keys      string     // how they are selected for that
	indexes   []index
	altered   map[product.Kind]bool // by a trigger, before a row is made
}

// check is a condition on rows that is calculated before one is made.
type check struct {
	name       string // of what holds it
	column     string // what a misfit names
	rule       string // in words
	expression expression
	scope      string // the condition on a candidate under which it holds
}

// obstacle is what may refuse repairs of some kinds and cannot be judged before.
type obstacle struct {
	name  string
	kinds []product.Kind
	// remedy is what has to be done first where every repair is refused.
	remedy string
}

// readConstraints notes what may refuse a row. What a trigger alters before it is made is
// known before anything is added, and bounds before what holds within them; checks are asked
// in this order.
func (s *shape) readConstraints(ctx context.Context, tx pgx.Tx, oid uint32) error {
	c := &catalogue{tx: tx, oid: oid, shape: s, altered: make(map[product.Kind]bool)}
	for _, read := range []func(context.Context) error{
		c.readRelations, c.readAttributes, c.readKeys, c.readUniqueness, c.readTriggers, c.readDomains, c.readBounds, c.readDemands, c.readGenerated,
		c.readChecks, c.readIndexes, c.readForeignKeys, c.readPolicies, c.readPublications, c.readDefaults, c.try,
	} {
		if err := read(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *catalogue) obstruct(name string, kinds ...product.Kind) {
	if len(kinds) > 0 {
		c.shape.obstacles = append(c.shape.obstacles, obstacle{name: name, kinds: kinds})
	}
}

func (c *catalogue) forbid(name, remedy string, kinds ...product.Kind) {
	c.obstruct(name, kinds...)
	if len(kinds) > 0 {
		c.shape.obstacles[len(c.shape.obstacles)-1].remedy = remedy
	}
}

// add adds what holds for the rows of a relation, as a check where it can be calculated.
func (c *catalogue) add(r *relation, k check) {
	for _, function := range k.expression.closed {
		for _, kind := range r.kinds() {
			c.shape.lack(kind, grant{"EXECUTE", "FUNCTION " + function})
		}
	}
	reason := c.shape.unknowable(&k.expression)
	if slices.Contains(c.keyed, "") && r.parent != 0 && r.partition {
		reason = "holds for a partition whose bounds are not simply columns"
	}
	if reason != "" {
		c.obstruct(k.name+r.of()+" ("+reason+")", r.kinds()...)
		return
	}
	k.rule += r.of()
	k.scope = c.scope(r)
	switch there := "EXISTS (SELECT FROM " + c.root().name + " AS held WHERE " + c.shape.one("candidate."+c.shape.id+"::text") + ")"; {
	case c.altered[product.Missing] && c.altered[product.Stale]:
		return // a trigger decides what is checked
	case c.altered[product.Missing]:
		k.scope = there + " AND (" + k.scope + ")"
	case c.altered[product.Stale]:
		k.scope = "NOT " + there + " AND (" + k.scope + ")"
	}
	c.shape.checks = append(c.shape.checks, k)
	c.shape.need(k.expression.columns)
	c.shape.need(c.keyed)
}

func (s *shape) need(columns []string) {
	for _, name := range columns {
		if a := s.attribute(name); a != nil && !s.needed[name] {
			s.needed[name] = true
			if a.generated != "" {
				s.need(a.value.columns)
			}
		}
	}
}

// expressions runs a query that selects rel, name, other, and the text and the node tree of
// expressions; of those of these relations it passes the facts on.
func (c *catalogue) expressions(ctx context.Context, query string, each func(r *relation, name, other string, e expression)) error {
	rows, err := c.tx.Query(ctx, "SELECT e.rel, e.name, e.other, e.text, facts.* FROM ("+query+") AS e"+treeFacts+" WHERE e.rel = ANY ($1::oid[]) ORDER BY e.rel <> $2::oid, e.rel, e.name", c.oids, c.oid)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var oid uint32
		var name, other string
		var e expression
		if err := rows.Scan(&oid, &name, &other, &e.text, &e.columns, &e.changing, &e.closed); err != nil {
			return err
		}
		each(c.relation(oid), name, other, e)
	}
	return rows.Err()
}

// readChecks reads CHECK constraints. One that is NOT VALID holds for new rows; one that
// is NOT ENFORCED, since PostgreSQL 18, for none. A partition has those of the table
// too, which are asked once.
func (c *catalogue) readChecks(ctx context.Context) error {
	return c.expressions(ctx, `SELECT conrelid AS rel, conname::text AS name, '' AS other, pg_get_expr(conbin, conrelid) AS text, conbin::text AS tree FROM pg_constraint k
		WHERE contype = 'c' AND (conrelid = $2::oid OR coninhcount = 0) AND coalesce(to_jsonb(k)->>'conenforced', 'true') = 'true'`,
		func(r *relation, name, _ string, e expression) {
			c.add(r, check{name: "check constraint " + name, column: name, rule: "the check constraint " + e.text, expression: e})
		})
}

// readGenerated sees to it that what is generated can be calculated and stored. What is
// virtual, since PostgreSQL 18, is only calculated for what looks at it.
func (c *catalogue) readGenerated(ctx context.Context) error {
	for _, a := range c.shape.attributes {
		if a.generated == stored || a.generated == virtual && a.demanded {
			c.generated(a)
		}
	}
	return c.expressions(ctx, `SELECT d.adrelid AS rel, a.attname::text AS name, '' AS other, pg_get_expr(d.adbin, d.adrelid) AS text, d.adbin::text AS tree
		FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
		WHERE d.adrelid <> $2::oid AND a.attgenerated <> ''`,
		func(r *relation, name, _ string, e expression) {
			if a := c.shape.attribute(name); a != nil && a.value.text != e.text {
				c.obstruct("generated column "+name+r.of()+" (is calculated in another way than the table's)", r.kinds()...)
			}
		})
}

func (c *catalogue) generated(a *attribute) {
	e := a.value
	value := "(" + e.text + ")"
	if text := value + "::" + a.typeName; a.cuts {
		e.text = fmt.Sprintf("%s::text = %s::text", value, text)
	} else {
		e.text = fmt.Sprintf("num_nulls(%s) >= 0", text)
	}
	if a.demanded {
		e.text = fmt.Sprintf("%s IS NOT NULL AND (%s)", value, e.text)
	}
	c.add(c.root(), check{name: "generated column " + a.name, column: a.name, rule: "the generated column " + value, expression: e})
}

// readDomains reads the constraints of the domains that columns are of. VALUE is the
// name of a column to what calculates them here.
func (c *catalogue) readDomains(ctx context.Context) error {
	return c.expressions(ctx, `WITH RECURSIVE domains (attname, type) AS (
			SELECT a.attname, a.atttypid FROM pg_attribute a WHERE a.attrelid = $2::oid AND a.attnum > 0 AND NOT a.attisdropped
			UNION ALL SELECT domains.attname, t.typbasetype FROM domains JOIN pg_type t ON t.oid = domains.type WHERE t.typtype = 'd')
		SELECT $2::oid AS rel, attname::text AS name, k.contypid::regtype::text AS other, pg_get_expr(k.conbin, 0) AS text, k.conbin::text AS tree
		FROM domains JOIN pg_constraint k ON k.contypid = domains.type WHERE k.contype = 'c'`,
		func(r *relation, name, domain string, e expression) {
			a := c.shape.attribute(name)
			rule := "the check constraint " + e.text + " of the domain " + domain
			collation := ""
			if a.collation != "" {
				collation = ` COLLATE "default"`
			}
			e.text = fmt.Sprintf("SELECT (%s) FROM (SELECT %s%s AS value) AS domain", e.text, a.quoted, collation)
			e.columns = []string{name}
			c.add(r, check{name: "domain " + domain, column: name, rule: rule, expression: e})
		})
}

// readDemands reads what must not be NULL without being filled, and what partitions demand
// beyond the table.
func (c *catalogue) readDemands(ctx context.Context) error {
	for _, a := range c.shape.attributes {
		switch {
		case !a.demanded || !c.shape.empty(a.name):
		case c.altered[product.Missing]:
			c.obstruct("NOT NULL of "+a.name, product.Missing)
		default:
			c.forbid("NOT NULL of "+a.name, "a product does not fill it: give it a default", product.Missing)
		}
	}
	rows, err := c.tx.Query(ctx, `SELECT attrelid, attname FROM pg_attribute WHERE attrelid = ANY ($1::oid[]) AND attrelid <> $2::oid AND attnum > 0 AND NOT attisdropped AND attnotnull
		ORDER BY attrelid, attnum`, c.oids, c.oid)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var oid uint32
		var name string
		if err := rows.Scan(&oid, &name); err != nil {
			return err
		}
		if a := c.shape.attribute(name); a != nil && !a.demanded {
			c.add(c.relation(oid), check{name: "NOT NULL of " + name, column: name, rule: "the constraint NOT NULL", expression: expression{text: a.quoted + " IS NOT NULL", columns: []string{name}}})
		}
	}
	return rows.Err()
}

// readDefaults notes the rights that the defaults of what a product does not fill need.
func (c *catalogue) readDefaults(ctx context.Context) error {
	for _, a := range c.shape.attributes {
		if !c.shape.given(a.name) && a.generated == "" {
			for _, function := range a.value.closed {
				c.shape.lack(product.Missing, grant{"EXECUTE", "FUNCTION " + function})
			}
		}
	}
	rows, err := c.tx.Query(ctx, `SELECT a.attname, p.refobjid::regclass::text FROM pg_attrdef d
		JOIN pg_depend p ON p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid AND p.refclassid = 'pg_class'::regclass
		JOIN pg_class s ON s.oid = p.refobjid JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
		WHERE d.adrelid = $1::oid AND CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE, UPDATE') END`, c.oid)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var column, sequence string
		if err := rows.Scan(&column, &sequence); err != nil {
			return err
		}
		if !c.shape.given(column) {
			c.shape.lack(product.Missing, grant{"USAGE", "SEQUENCE " + sequence})
		}
	}
	return rows.Err()
}

// try asks all checks of no row. One that PostgreSQL does not even begin to calculate, for
// a reason that nothing above knows, becomes an obstacle.
func (c *catalogue) try(ctx context.Context) error {
	if len(c.shape.checks) == 0 || c.tried(ctx, c.shape.checks) == nil {
		return nil
	}
	var able []check
	for _, k := range c.shape.checks {
		err := c.tried(ctx, []check{k})
		var refused *pgconn.PgError
		switch is := errors.As(err, &refused); {
		case err == nil || is && isRowsFault(refused): // what no row gets past
			able = append(able, k)
		case is && (strings.HasPrefix(refused.Code, "42") || strings.HasPrefix(refused.Code, "0A")):
			c.obstruct(k.name+" ("+strings.ReplaceAll(refused.Message, "\n", " ")+")", product.Missing, product.Stale)
		default:
			return err
		}
	}
	c.shape.checks = able
	return nil
}

func (c *catalogue) tried(ctx context.Context, checks []check) error {
	query, args := c.shape.judgement(allFields(), nil, checks)
	return pgx.BeginFunc(ctx, c.tx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, query, args...)
		return err
	})
}
