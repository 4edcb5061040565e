package rabbit

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Resource is what the broker may have limits of.
type Resource string

// The resources.
const (
	Connections Resource = "connections"
	Channels    Resource = "channels"
	Queues      Resource = "queues"
)

// Room is one limit of the broker, and how much of it is in use.
type Room struct {
	Of         Resource
	Owner      string // vhost or user, by its name
	By         string // what sets it, of rabbitmqctl
	Most, Used int
}

// limitAnswer is the API's own form of limits; those that are not set are nil.
type limitAnswer struct {
	Value struct {
		Connections *int `json:"max-connections"`
		Channels    *int `json:"max-channels"`
		Queues      *int `json:"max-queues"`
	} `json:"value"`
}

// Rooms lists the limits of the vhost and of the user who connects to it. Negative ones
// are none. Without the tag "monitoring" the user's are not shown, and what is in use
// would be our own only: ErrNotAllowed.
func (m *Management) Rooms(ctx context.Context) ([]Room, error) {
	var ofVhost, ofUser []limitAnswer
	err := m.get(ctx, &ofVhost, "api", "vhost-limits", m.vhost)
	if err == nil {
		err = m.get(ctx, &ofUser, "api", "user-limits", m.amqpUser)
	}
	if err != nil {
		return nil, fmt.Errorf("ask the management API for limits: %w", err)
	}
	var rooms []Room
	add := func(most *int, room Room, field string, path ...string) {
		if most == nil || *most < 0 || err != nil {
			return
		}
		room.Most = *most
		if room.Used, err = m.count(ctx, field, path...); err == nil {
			rooms = append(rooms, room)
		}
	}
	vhost, user := "vhost "+m.vhost, "user "+m.amqpUser
	for _, l := range ofVhost {
		add(l.Value.Connections, Room{Of: Connections, Owner: vhost, By: "set_vhost_limits"}, "", "api", "vhosts", m.vhost, "connections")
		add(l.Value.Queues, Room{Of: Queues, Owner: vhost, By: "set_vhost_limits"}, "", "api", "queues", m.vhost)
	}
	for _, l := range ofUser {
		add(l.Value.Connections, Room{Of: Connections, Owner: user, By: "set_user_limits"}, "", "api", "connections", "username", m.amqpUser)
		add(l.Value.Channels, Room{Of: Channels, Owner: user, By: "set_user_limits"}, "channels", "api", "connections", "username", m.amqpUser)
	}
	return rooms, err
}

// count is how many a list holds, or the sum of one of its fields.
func (m *Management) count(ctx context.Context, field string, path ...string) (n int, err error) {
	var list []map[string]any
	if err := m.get(ctx, &list, path...); err != nil {
		return 0, fmt.Errorf("ask the management API for limits: %w", err)
	}
	if field == "" {
		return len(list), nil
	}
	for _, each := range list {
		value, _ := each[field].(float64)
		n += int(value)
	}
	return n, nil
}

// Node is one node of the broker.
type Node struct {
	Name        string `json:"name"`
	Running     bool   `json:"running"`
	MemoryAlarm bool   `json:"mem_alarm"`
	DiskAlarm   bool   `json:"disk_free_alarm"`
}

// Nodes lists the nodes of the broker; ErrNotAllowed without the tag "monitoring".
func (m *Management) Nodes(ctx context.Context) ([]Node, error) {
	var nodes []Node
	if err := m.get(ctx, &nodes, "api", "nodes"); err != nil {
		return nil, fmt.Errorf("ask the management API for the nodes: %w", err)
	}
	return nodes, nil
}

// Identity is the management API's user.
type Identity struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
}

// Monitors tells whether the user is shown what is not its own.
func (i Identity) Monitors() bool {
	return slices.Contains(i.Tags, "monitoring") || slices.Contains(i.Tags, "administrator")
}

// Whoami asks who asks.
func (m *Management) Whoami(ctx context.Context) (Identity, error) {
	var who Identity
	if err := m.get(ctx, &who, "api", "whoami"); err != nil {
		if errors.Is(err, ErrNotAllowed) { // which a wrong password gets too
			return who, fmt.Errorf("check its user and password: %w", err)
		}
		return who, err
	}
	return who, nil
}
