// Package cart imitates the Cart Service's consumer of product events, as it was observed from outside: the Node
// process that keeps the cart's copy of the products. It is faithful where that is unpleasant, too: an event that
// it cannot store ends it and stays in the queue, and an event without an id hits another product.
//
// It also has the Order Service as the cart sees it: a second consumer of the same queues that takes events away.
package cart
