package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/text"
	"github.com/ecom-micro/etl/internal/words"
)

// Audience is who consumes one of the cart's queues, as far as the broker tells.
type Audience struct {
	count  int        // by AMQP
	known  []listener // by the management API; nil where it is not used, or lists none
	single bool       // one is the single active consumer, the others stand by
	asked  bool       // the management API was asked
}

// listener is one consumer.
type listener struct {
	rabbit.Consumer
	client   rabbit.Client
	nameless bool // our user is not shown the names of others' connections
}

// maxNamed is how many consumers of a queue are asked for by name.
const maxNamed = 10

// Nameless is the audience of which only the number is known.
func (b *Broker) Nameless(count int) Audience {
	return Audience{count: count, asked: b.Management != nil}
}

// Audience asks the management API who the consumers of a queue are.
func (b *Broker) Audience(ctx context.Context, count int, details *rabbit.QueueDetails) (Audience, error) {
	a := b.Nameless(count)
	if a.single = details.Rules.SingleActive(); a.single {
		a.count = max(count, len(details.Consumers)) // a quorum queue counts only the active one
	}
	for i, c := range details.Consumers {
		l := listener{Consumer: c}
		if c.Connection != "" && i < maxNamed {
			var err error
			l.client, err = b.Management.Client(ctx, c.Connection)
			switch {
			case errors.Is(err, rabbit.ErrNotAllowed):
				l.nameless = true
			case errors.Is(err, rabbit.ErrNotFound):
				l.Connection = "" // it comes, or goes
			case err != nil:
				return a, err
			}
		}
		a.known = append(a.known, l)
	}
	return a, nil
}

// Settled tells whether all consumers are known, as they are some seconds after they came.
func (a Audience) Settled() bool {
	return len(a.known) == a.count && !slices.ContainsFunc(a.known, func(l listener) bool { return l.Connection == "" })
}

// service is what consumers of one service have in common: the broker's user, the AMQP
// library, and the connection's name but for what tells replicas apart.
func (l listener) service() string {
	return strings.Join([]string{l.User, l.client.Product, kind(l.client.Name)}, "\n")
}

// kind is a connection's name without its numbers, and without the random parts of the
// name of a Kubernetes pod, which have no vowels.
func kind(name string) string {
	parts := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	parts = slices.DeleteFunc(parts, func(w string) bool {
		return strings.ContainsFunc(w, unicode.IsDigit) || len(w) >= 5 && !strings.ContainsAny(w, "aeiouy")
	})
	return strings.Join(parts, " ")
}

// services are the consumers that are known, those of one service together.
func (a Audience) services() [][]listener {
	var all [][]listener
	for _, l := range a.known {
		if l.Connection == "" {
			continue
		}
		i := slices.IndexFunc(all, func(others []listener) bool { return others[0].service() == l.service() })
		if i < 0 {
			i, all = len(all), append(all, nil)
		}
		all[i] = append(all[i], l)
	}
	return all
}

// String is how many there are, and who, where that is known.
func (a Audience) String() string {
	s := words.Counted(a.count, "consumer")
	if a.known != nil {
		s += " (" + a.who() + ")"
	}
	return s
}

// who names the consumers: by their connections' names, else by user and address.
func (a Audience) who() string {
	var texts []string
	unknown := a.count
	for _, same := range a.services() {
		unknown -= len(same)
		name := same[0].client.Name
		if name == "" || slices.ContainsFunc(same, func(l listener) bool { return l.client.Name != name }) {
			name = same[0].called(same)
		}
		if len(same) > 1 {
			name = fmt.Sprintf("%d × %s", len(same), name)
		}
		texts = append(texts, name)
	}
	if unknown > 0 {
		texts = append(texts, fmt.Sprintf("%d not known by name yet", unknown))
	}
	return strings.Join(texts, ", ")
}

// called is what connections of one service are called whose names differ, or who have none.
func (l listener) called(same []listener) string {
	const most = 4
	var names, hosts []string
	for _, other := range same {
		names = append(names, other.client.Name)
		hosts = append(hosts, cmp.Or(other.Host, other.Connection))
	}
	if l.client.Name != "" {
		slices.Sort(names)
		return text.List(names, most)
	}
	slices.Sort(hosts)
	return fmt.Sprintf("user %s at %s", cmp.Or(l.User, "unknown"), text.List(slices.Compact(hosts), most))
}

// moved tells whether a plugin of the broker takes events to another queue or broker.
func (a Audience) moved() bool {
	return slices.ContainsFunc(a.known, func(l listener) bool {
		return strings.HasPrefix(l.client.Name, "Shovel") || strings.HasPrefix(l.client.Name, "Federation")
	})
}

// Sharing says what several consumers of one queue mean. It is a worry where they are
// seen to be of different services, or to move events away.
func (a Audience) Sharing() (what string, worry bool) {
	services := a.services()
	switch {
	case a.moved():
		return "a plugin moves events elsewhere: give it a queue of its own", true
	case a.count < 2 && slices.ContainsFunc(a.known, func(l listener) bool { return l.Exclusive }):
		return "it consumes exclusively, so a second replica is refused", false
	case a.count < 2:
		return "", false
	case len(services) > 1 && a.single:
		return a.activity() + "; give each service its own queue", true
	case len(services) > 1:
		return "each event reaches only one; give each service its own queue", true
	case a.single:
		return a.activity(), false
	case a.known == nil && a.asked:
		return "each event reaches only one of them, and whose they are is not shown", false
	case a.known == nil:
		return "each event reaches only one of them; RABBITMQ_MANAGEMENT_URL shows whose they are", false
	case len(services) == 1 && services[0][0].client.Name != "":
		return "each event reaches one of them", false
	}
	return "each event reaches only one of them, so all should be the cart's", false
}

// blamed says what is known of the consumers where events were consumed in vain.
func (a Audience) blamed() []string {
	sharing, worry := a.Sharing()
	switch {
	case a.count == 0 || a.known == nil && a.count == 1:
		return nil
	case a.count == 1 && !worry:
		return []string{fmt.Sprintf("queue %s has one consumer, %s: see its log", rabbit.CreatedQueue, a.who())}
	}
	return []string{fmt.Sprintf("queue %s has %s, and %s", rabbit.CreatedQueue, a, sharing)}
}

// activity says who is the single active consumer.
func (a Audience) activity() string {
	for _, l := range a.known {
		if !l.Standby && l.Connection != "" {
			return fmt.Sprintf("%s at %s is the single active one, the others stand by", cmp.Or(l.client.Name, "user "+l.User), cmp.Or(l.Host, l.Connection))
		}
	}
	return "only one of them is active, the others stand by"
}

// Habits say what is unusual about how the consumers take events.
func (a Audience) Habits() []string {
	counted := func(is func(listener) bool) (n int) {
		for _, l := range a.known {
			if is(l) {
				n++
			}
		}
		return n
	}
	var all []string
	if n := counted(func(l listener) bool { return l.Unlimited }); n > 0 {
		all = append(all, fmt.Sprintf("%d without prefetch: it gets all that waits at once, so that an empty queue may not be consumed; set one", n))
	}
	if n := counted(func(l listener) bool { return l.Automatic }); n > 0 {
		all = append(all, fmt.Sprintf("%d acknowledging automatically: what it has not stored when it ends is lost; acknowledge by hand", n))
	}
	return all
}
