"""Reward functions for the trainers and searches that take one in Python.

Each module is named after the stack that calls it, holds what that stack asks for, and imports nothing of it. All take
anything that scores: a `surestep.Scorer`, or the client of a server.

    answer_rewards     what all share: answers read, scored together, reduced to rewards
    trl                GRPO, RLOO
    verl               `compute_score`, single and batch
    openrlhf           a file with `reward_func`
    slime              `custom_rm`, credit of tokens
    verifiers          a rubric's function, a trace's reward, advantages of tokens
    areal              `reward_fn`
    ms_swift           outcome and process reward models
    its_hub            process and outcome reward models
    reward_hub         a process reward model with `PRMResult`
    search_and_learn   `PRM`
"""
