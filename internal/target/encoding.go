package target

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/text"
)

// asBytes is the encoding of a database that takes texts as bytes, of which it knows
// nothing; see postgres.AsBytes.
const asBytes = "SQL_ASCII"

// holdable are those of ids that a row may have: the database refuses others even as a
// parameter.
func (t *Target) holdable(ctx context.Context, ids []product.ID) ([]string, error) {
	texts := make([]string, 0, len(ids))
	for _, id := range ids {
		if s := string(id); text.Storable(s) || t.shape.encoding == asBytes && strings.IndexByte(s, 0) < 0 {
			texts = append(texts, s)
		}
	}
	if t.knowsAll() {
		return texts, nil
	}
	if err := t.learn(ctx, texts...); err != nil {
		return nil, err
	}
	held := texts[:0]
	for _, s := range texts {
		if _, lacks := t.characters.lackedBy(s); !lacks {
			held = append(held, s)
		}
	}
	return held, nil
}

// knowsAll tells whether the database's encoding has every character.
func (t *Target) knowsAll() bool { return t.shape.encoding == "UTF8" || t.shape.encoding == asBytes }

// unheld adds the rows to misfits that have a character which the database's encoding
// does not have.
func (t *Target) unheld(ctx context.Context, rows []product.Row, misfits map[product.ID]*product.Misfit) error {
	if t.knowsAll() {
		return nil
	}
	columns := t.shape.columns(allFields())
	texts := make([]string, 0, len(rows)*len(columns))
	for i := range rows {
		for _, c := range columns {
			texts = append(texts, c.of(&rows[i]).String())
		}
	}
	if err := t.learn(ctx, texts...); err != nil {
		return fmt.Errorf("ask what the encoding of %s holds: %w", t.Name(), t.explained(ctx, err))
	}
	for i, s := range texts {
		row, c := &rows[i/len(columns)], columns[i%len(columns)]
		if r, lacks := t.characters.lackedBy(s); lacks && misfits[row.ID] == nil {
			misfits[row.ID] = &product.Misfit{Column: c.plainName(t.shape), Reason: fmt.Sprintf("has the character %+q (%U), which the database's encoding %s does not have", string(r), r, t.shape.encoding)}
		}
	}
	return nil
}

// characters are those beyond ASCII of which it is known whether the database's
// encoding has them.
type characters struct {
	mu    sync.Mutex
	known map[rune]bool
}

// unknown are the characters of texts of which it is not known.
func (c *characters) unknown(texts []string) []rune {
	c.mu.Lock()
	defer c.mu.Unlock()
	var unknown []rune
	seen := make(map[rune]bool)
	for _, s := range texts {
		for _, r := range s {
			if _, is := c.known[r]; !is && r >= utf8.RuneSelf && !seen[r] {
				seen[r] = true
				unknown = append(unknown, r)
			}
		}
	}
	return unknown
}

func (c *characters) learnt(r rune, held bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = make(map[rune]bool)
	}
	c.known[r] = held
}

// lackedBy is the first character of s that the encoding does not have.
func (c *characters) lackedBy(s string) (lacked rune, lacks bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range s {
		if r >= utf8.RuneSelf && !c.known[r] {
			return r, true
		}
	}
	return 0, false
}

// learn asks the database which characters of texts it has, those once that it was not
// asked for yet: each by a statement of its own, because one that it does not have
// fails its statement, and all in one round trip.
func (t *Target) learn(ctx context.Context, texts ...string) error {
	unknown := t.characters.unknown(texts)
	if len(unknown) == 0 {
		return nil
	}
	_, err := retried(ctx, func() (struct{}, error) {
		return struct{}{}, t.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
			pipeline := conn.Conn().PgConn().StartPipeline(ctx)
			for _, r := range unknown {
				pipeline.SendQueryParams("SELECT convert($1, 'UTF8', getdatabaseencoding())", [][]byte{[]byte(string(r))}, []uint32{pgtype.ByteaOID}, []int16{pgtype.BinaryFormatCode}, nil)
				pipeline.SendPipelineSync()
			}
			err := pipeline.Flush()
			for i := 0; i < len(unknown) && err == nil; i++ {
				var held bool
				if held, err = converted(pipeline); err == nil {
					t.characters.learnt(unknown[i], held)
				}
			}
			return errors.Join(err, pipeline.Close())
		})
	})
	return err
}

// converted reads one statement's result, up to its end.
func converted(pipeline *pgconn.Pipeline) (held bool, err error) {
	held = true
	for {
		result, err := pipeline.GetResults()
		if reader, is := result.(*pgconn.ResultReader); is && err == nil {
			_, err = reader.Close()
		}
		var refused *pgconn.PgError
		switch {
		case errors.As(err, &refused) && strings.HasPrefix(refused.Code, "22"): // data exception: no such character
			held = false
		case err != nil:
			return false, err
		}
		if _, is := result.(*pgconn.PipelineSync); is {
			return held, nil
		}
	}
}
