"""Free tensors made into orthogonal or 1-Lipschitz weights, differentiably."""
