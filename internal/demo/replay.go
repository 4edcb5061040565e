package main

import (
	"context"
	"fmt"
	"time"
)

// replay is the story of the commands.
func replay(ctx context.Context, s *stage) error {
	begun := time.Now()
	if err := s.open(ctx); err != nil {
		return err
	}
	s.say("How far has the cart drifted?")
	if _, err := s.run(ctx, 1, "etl validate"); err != nil {
		return err
	}
	s.say("Replay: the missing events go through the cart's own consumer.")
	before := s.consumer.Counts().Inserted
	if _, err := s.run(ctx, 0, "etl sync"); err != nil {
		return err
	}
	s.say("The proof from outside: the cart's consumer itself inserted %d products, and its table\nhas %d rows.", s.consumer.Counts().Inserted-before, s.rows(ctx))

	s.say("The same again, with %d new products, repaired by direct writes.", lost)
	if err := s.insertMore(ctx); err != nil {
		return err
	}
	if err := s.outage(ctx, products, lost); err != nil {
		return err
	}
	before = s.consumer.Counts().Inserted
	if _, err := s.run(ctx, 0, "etl sync --mode direct"); err != nil {
		return err
	}
	s.say("This time the consumer inserted %d products, and the table has %d rows. In sync?", s.consumer.Counts().Inserted-before, s.rows(ctx))
	if _, err := s.run(ctx, 0, "etl validate"); err != nil {
		return err
	}
	s.say("Done in %s. The data stays until `make down`. To try it by hand (the demo's consumer has\nended, so use --mode direct):", time.Since(begun).Round(time.Second))
	s.showEnvironment()
	fmt.Fprintf(s.out, "  go run ./cmd/etl doctor\n\n  Management UI: %s\n", s.ui(""))
	return nil
}
