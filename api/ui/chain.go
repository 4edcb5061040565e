package ui

import (
	"time"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

// chain is the way of the Product Service's events to the cart, as a line that is drawn.
type chain struct {
	Tone, Headline, Text string
	Since, At            time.Time
	Exchange             node
	Lanes                []lane
}

// lane is the way through one queue.
type lane struct {
	Queue                     string
	Binding, Waits, Consumers node
	Text                      string
}

// node is one part of the way.
type node struct {
	Name, Says, Tone string
}

// chainOf draws what was seen last, nil where nothing was.
func (u *UI) chainOf(d *run.Delivery) chain {
	exchange := node{"Exchange", u.parts.Exchange, good}
	if d == nil {
		return chain{Tone: neutral, Headline: "It is not known yet whether events arrive", Exchange: exchange}
	}
	c := chain{Tone: tone(d.State), Text: d.Text, Since: d.Since, At: d.At, Exchange: exchange}
	switch d.State {
	case run.Flowing:
		c.Headline = "Events arrive"
	case run.Stalled:
		c.Headline = "Events are held up"
	case run.Severed:
		c.Headline = "Events do not arrive"
	default:
		c.Headline = "It is not known whether events arrive"
	}
	if d.Link == run.LinkBroker || d.Link == run.LinkExchange {
		c.Exchange.Tone, c.Exchange.Says = c.Tone, map[run.DeliveryLink]string{run.LinkBroker: "RabbitMQ does not say", run.LinkExchange: u.parts.Exchange + " is not there"}[d.Link]
	}
	for _, q := range d.Queues {
		c.Lanes = append(c.Lanes, laneOf(q))
	}
	return c
}

func laneOf(q run.QueueDelivery) lane {
	l := lane{Queue: q.Queue, Text: q.Text,
		Binding:   node{"Binding", "not seen", neutral},
		Waits:     node{q.Queue, words.Counted(q.Ready, "event") + " waiting", good},
		Consumers: node{"Consumers", words.Number(q.Consumers), good},
	}
	if q.Bound != nil {
		l.Binding.Says, l.Binding.Tone = "bound", good
		if !*q.Bound {
			l.Binding.Says, l.Binding.Tone = "not bound", bad
		}
	}
	if q.Ready == 0 {
		l.Waits.Says = "nothing waits"
	} else if !q.Waiting.IsZero() {
		l.Waits.Says += ", no fewer for " + lasted(time.Since(q.Waiting))
	}
	if q.Consumers == 0 {
		l.Consumers.Says, l.Consumers.Tone = "nobody consumes", tone(q.State)
	}
	switch q.Link {
	case run.LinkQueue, run.LinkHead:
		l.Waits.Tone = tone(q.State)
	case run.LinkConsumers:
		l.Consumers.Tone = tone(q.State)
	}
	return l
}
