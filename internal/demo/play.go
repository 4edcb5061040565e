package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/testenv/cart"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// play is what a person may do to the shop while the service runs.
type play struct {
	*service
	thief    *cart.Thief
	poisoned bool
	next     int // the first product that is not announced yet
}

// trick is one thing to do, by the word that a person types.
type trick struct {
	word, means string
	do          func(p *play, ctx context.Context, argument string) (string, error)
}

func tricks() []trick {
	return []trick{
		{"new", "announce new products, 5 or as many as you say: new 50", (*play).announce},
		{"unbind", "take the binding of the cart's queue away: the broker drops what is announced", (*play).cut},
		{"stop", "stop the cart", (*play).stopCart},
		{"poison", "announce something that the cart's consumer dies of", (*play).poison},
		{"thief", "let somebody else consume the cart's queue as well", (*play).steal},
		{"heal", "put all of it right again; what was lost stays lost, until it is found", (*play).heal},
	}
}

// openPlay restarts the service with its detectors, and opens its pages.
func (s *service) openPlay(ctx context.Context) (*play, error) {
	if err := s.terminate(ctx); err != nil {
		return nil, err
	}
	s.say("Now with the detectors of lost events, for you to play with.")
	for i, v := range s.more {
		switch {
		case strings.HasPrefix(v, "ETL_ROLES="):
			s.more[i] = "ETL_ROLES=api,worker,scheduler,tap"
		case strings.HasPrefix(v, "SYNC_RECENT_SCHEDULE="):
			s.more[i] = "SYNC_RECENT_SCHEDULE=@every 1m"
		}
	}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return &play{service: s, next: products + lost}, nil
}

// run does what a person types until ctx or the input ends.
func (p *play) run(ctx context.Context, input io.Reader) error {
	defer func() {
		if p.thief != nil {
			p.thief.Stop()
		}
	}()
	token, err := p.service.run(ctx, 0, "etl token --role etl:operator --ttl 8h")
	if err != nil {
		return err
	}
	p.say("Open %s/api/etl/ui/ and sign in with this token:\n%s\nThen type here:", p.address(), strings.TrimSpace(token))
	for _, t := range tricks() {
		fmt.Fprintf(p.out, "    %-8s %s\n", t.word, t.means)
	}
	fmt.Fprintf(p.out, "    %-8s %s\n", "Ctrl-C", "end it all")
	lines := make(chan string)
	go func() { // ends with the process: nothing interrupts the reading of a terminal
		defer close(lines)
		scanner := bufio.NewScanner(input)
		for scanner.Scan() {
			lines <- scanner.Text()
		}
	}()
	for {
		fmt.Fprint(p.out, "> ")
		select {
		case line, open := <-lines:
			if !open {
				<-ctx.Done()
				return nil
			}
			fmt.Fprintln(p.out, p.answer(ctx, line))
		case <-ctx.Done():
			return nil
		}
	}
}

// answer does one thing and says what it did.
func (p *play) answer(ctx context.Context, line string) string {
	word, argument, _ := strings.Cut(strings.TrimSpace(line), " ")
	for _, t := range tricks() {
		if t.word == word {
			said, err := t.do(p, ctx, strings.TrimSpace(argument))
			if err != nil {
				return "That did not work: " + err.Error()
			}
			return said
		}
	}
	return fmt.Sprintf("%q is none of these.", word)
}

// address is that of the service.
func (s *service) address() string {
	for _, v := range s.more {
		if port, is := strings.CutPrefix(v, "PORT="); is {
			return "http://127.0.0.1:" + port
		}
	}
	return ""
}

func (p *play) announce(ctx context.Context, argument string) (string, error) {
	n := 5
	if argument != "" {
		var err error
		if n, err = strconv.Atoi(argument); err != nil || n < 1 || n > 10_000 {
			return "", fmt.Errorf("%q is no number of products, 1 to 10000", argument)
		}
	}
	first := p.next
	p.next += n
	p.assorted.N = p.next
	if err := platform.InsertProducts(ctx, p.catalogue, p.assorted.Where(func(i int) bool { return i >= first })); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d products are created and announced.", n), p.publish(ctx, first, n)
}

func (p *play) cut(context.Context, string) (string, error) {
	return "The queue is not bound any more: announce some products, and see.", p.unbind(platform.ProductCreated)
}

func (p *play) stopCart(context.Context, string) (string, error) {
	p.consumer.Stop()
	return "The cart is down: its queue keeps what is announced.", nil
}

func (p *play) poison(ctx context.Context, _ string) (string, error) {
	p.poisoned = true
	err := p.onChannel(func(ch *amqp.Channel) error {
		return ch.PublishWithContext(ctx, platform.Exchange, platform.ProductCreated, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(`{"id":`)})
	})
	return "Something that is no event is on its way.", err
}

func (p *play) steal(ctx context.Context, _ string) (string, error) {
	if p.thief != nil {
		return "It does already.", nil
	}
	var err error
	p.thief, err = cart.StartThief(context.WithoutCancel(ctx), cart.ThiefConfig{BrokerURL: p.brokerURL.String()})
	return "Each event reaches only one of the two now.", err
}

// heal stops the thief, removes the poison from the queue's head, and starts the cart, which
// binds its queues.
func (p *play) heal(ctx context.Context, _ string) (string, error) {
	if p.thief != nil {
		p.thief.Stop()
		p.thief = nil
	}
	p.consumer.Stop()
	var problem error
	if p.poisoned {
		problem = p.onChannel(removePoison)
		p.poisoned = problem != nil
	}
	consumer, err := p.startCart(context.WithoutCancel(ctx))
	if err == nil {
		p.consumer = consumer
	}
	return "The cart is up, its queues are bound, and nobody else consumes them.", errors.Join(problem, err)
}

// removePoison takes what is no event out of the queue, and leaves the rest as it was.
func removePoison(ch *amqp.Channel) error {
	for {
		d, is, err := ch.Get(platform.ProductCreated, false)
		if err != nil || !is {
			return err // closing the channel gives back what was looked at
		}
		if string(d.Body) == `{"id":` {
			if err := d.Ack(false); err != nil {
				return err
			}
		}
	}
}

func (s *shop) onChannel(do func(ch *amqp.Channel) error) error {
	ch, err := s.broker.Channel()
	if err != nil {
		return err
	}
	defer func() { _ = ch.Close() }()
	return do(ch)
}
